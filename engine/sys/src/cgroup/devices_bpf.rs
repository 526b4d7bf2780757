//! Device rules on cgroup v2: a BPF program of type `cgroup_device`, assembled here and attached by bpf(2).
//!
//! The kernel runs it on every open and mknod of a device. It gets the wanted access and the device's numbers, and
//! answers 1 (yes) or 0 (no). Rules are tried from the last to the first, so that each of read, write and mknod is
//! decided by the last rule that mentions it, which is what a list of v1 writes comes to.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{DeviceKind, DeviceRule, Error, Result};

/// One eBPF instruction, as the kernel's `struct bpf_insn` on a little-endian host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_W | BPF_MEM
const MOVE_IMMEDIATE: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND_IMMEDIATE: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    // Two 4-bit fields; the first in memory order is the low nibble on little-endian hosts, the high one else.
    let registers = if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// The program of a list of rules.
pub(super) fn assemble(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { access << 16 | kind, major, minor }
    let mut program = vec![
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, KIND, ACCESS, 0, 0),
        instruction(AND_IMMEDIATE, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        if rule.is_everything() {
            // Decides all that is left; the verifier refuses instructions that can never run, so this is the end.
            program.extend(answer(rule.allow));
            return program;
        }
        program.extend(assemble_rule(rule));
    }
    program.extend(answer(false));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(MOVE_IMMEDIATE, RESULT, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

fn assemble_rule(rule: &DeviceRule) -> Vec<Instruction> {
    let access = i32::from(rule.access_bits());
    let mut body = Vec::with_capacity(5);
    if rule.allow {
        // Take off what this rule allows; if nothing is left to decide, yes.
        body.push(instruction(AND_IMMEDIATE, ACCESS, 0, 0, !access & 7));
        body.push(instruction(JUMP_NOT_EQUAL, ACCESS, 0, 2, 0));
    } else {
        // If anything that this rule denies is still wanted, no.
        body.push(instruction(MOVE_REGISTER, RESULT, ACCESS, 0, 0));
        body.push(instruction(AND_IMMEDIATE, RESULT, 0, 0, access));
        body.push(instruction(JUMP_EQUAL, RESULT, 0, 2, 0));
    }
    body.extend(answer(rule.allow));

    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(KIND_BLOCK),
        DeviceKind::Char => Some(KIND_CHAR),
    };
    let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok());
    let wanted = [(KIND, kind), (MAJOR, number(rule.major_number())), (MINOR, number(rule.minor_number()))];
    let tests: Vec<(u8, i32)> = wanted.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let count = tests.len();
    let mut rule_code = Vec::with_capacity(count + body.len());
    for (index, (register, value)) in tests.into_iter().enumerate() {
        // Past the tests that are left and the body: at most 7.
        let skip = i16::try_from(count - index - 1 + body.len()).unwrap_or(i16::MAX);
        rule_code.push(instruction(JUMP_NOT_EQUAL, register, 0, skip, value));
    }
    rule_code.extend(body);
    rule_code
}

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_PROG_QUERY: c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;
/// Programs on one cgroup: the kernel's BPF_CGROUP_MAX_PROGS.
const PROGRAMS_MAX: usize = 64;

/// `union bpf_attr`, zeroed beyond what a command uses, as the kernel demands.
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Self {
        Self([0; 128])
    }

    fn word(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn pointer(mut self, offset: usize, pointer: *const u8) -> Self {
        let address = pointer.expose_provenance() as u64;
        self.0[offset..offset + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        self.word(offset, fd.as_raw_fd().unsigned_abs())
    }
}

fn bpf(command: c_int, attributes: &mut Attributes) -> io::Result<c_int> {
    // SAFETY: the kernel reads and writes within the given size; pointers inside were made from buffers that the
    // callers below keep alive and sized as they say in the attributes.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_mut_ptr(), attributes.0.len()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(c_int::try_from(rc).unwrap_or(c_int::MAX)) }
}

fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: only called with the result of a bpf(2) command that answers a new descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let license = c"Apache-2.0";
    let mut attributes = Attributes::new()
        .word(0, PROG_TYPE_CGROUP_DEVICE)
        .word(4, count)
        .pointer(8, program.as_ptr().cast())
        .pointer(16, license.as_ptr().cast());
    attributes.0[48..62].copy_from_slice(b"gantry_devices");
    bpf(BPF_PROG_LOAD, &mut attributes).map(owned)
}

/// The device programs of a cgroup itself, by identifier.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; PROGRAMS_MAX];
    let mut attributes =
        Attributes::new().fd(0, cgroup).word(4, ATTACH_CGROUP_DEVICE).pointer(16, ids.as_mut_ptr().cast()).word(24, 64);
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    let mut count = [0; 4];
    count.copy_from_slice(&attributes.0[24..28]);
    let count = usize::try_from(u32::from_ne_bytes(count)).unwrap_or(0).min(PROGRAMS_MAX);
    Ok(ids[..count].to_vec())
}

fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_PROG_GET_FD_BY_ID, &mut Attributes::new().word(0, id)).map(owned)
}

fn attach_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, replaced: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut attributes = Attributes::new().fd(0, cgroup).fd(4, program).word(8, ATTACH_CGROUP_DEVICE);
    attributes = match replaced {
        Some(replaced) => attributes.word(12, ALLOW_MULTI | REPLACE).fd(16, replaced),
        None => attributes.word(12, ALLOW_MULTI),
    };
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

fn detach_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes::new().fd(0, cgroup).fd(4, program).word(8, ATTACH_CGROUP_DEVICE);
    bpf(BPF_PROG_DETACH, &mut attributes).map(drop)
}

/// Puts the rules in force on a cgroup. A program that is there is replaced in one step, so that there is no moment
/// in which the processes inside may use everything or nothing; several (or an old kernel) are detached after the
/// new one is on, in whose moment the stricter of both holds.
pub(super) fn attach(directory: &Path, rules: &[DeviceRule]) -> Result<()> {
    let failed = |action: &'static str| move |error: io::Error| Error::io(action, directory, error);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| Error::io("open", directory, errno.into()))?;
    let program = load(&assemble(rules)).map_err(failed("load the device program of"))?;
    let old = attached(cgroup.as_fd()).map_err(failed("ask for the device programs of"))?;
    let old: Vec<OwnedFd> = old
        .into_iter()
        .map(program_by_id)
        .collect::<io::Result<_>>()
        .map_err(failed("open the old device program of"))?;
    if let [only] = old.as_slice()
        && attach_program(cgroup.as_fd(), program.as_fd(), Some(only.as_fd())).is_ok()
    {
        return Ok(());
    }
    attach_program(cgroup.as_fd(), program.as_fd(), None).map_err(failed("attach a device program to"))?;
    for program in &old {
        detach_program(cgroup.as_fd(), program.as_fd()).map_err(failed("detach the old device program of"))?;
    }
    Ok(())
}
