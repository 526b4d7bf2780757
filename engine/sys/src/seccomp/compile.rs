//! From rules to instructions.
//!
//! The program looks at the architecture once, then finds the system call's number by halving ranges of numbers that
//! have one decision, so that the 370 calls of docker's profile cost eight comparisons; arguments are looked at only
//! for calls whose rules ask. For calls decided by number alone the kernel runs the program once and remembers
//! (Linux 5.11), which is why nothing but number and architecture is loaded on that way.
//!
//! For one call the rules with conditions are tried in their order, then the first one without. A number beyond the
//! last that the profile knows of gets ENOSYS instead of a refusal, as in runc, because C libraries try new calls
//! first and fall back on that errno only.

use std::collections::BTreeMap;

use super::program::{FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_TSYNC_ESRCH};
use super::program::{FLAG_WAIT_KILLABLE_RECV, Instruction};
use super::{Action, Arch, Arg, Error, Flag, LinuxSeccomp, Operator, Program, SyscallRule, tables};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const RETURN_KILL_PROCESS: u32 = 0x8000_0000;
const RETURN_KILL_THREAD: u32 = 0;
const RETURN_TRAP: u32 = 0x0003_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const RETURN_NOTIFY: u32 = 0x7fc0_0000;
const RETURN_TRACE: u32 = 0x7ff0_0000;
const RETURN_LOG: u32 = 0x7ffc_0000;
const RETURN_ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// The kernel's greatest errno.
const ERRNO_MAX: u32 = 4095;
/// The kernel's BPF_MAXINSNS.
const INSTRUCTIONS_MAX: usize = 4096;
/// Set in the number of an x32 call.
const X32_BIT: u32 = 0x4000_0000;

/// Compiles a profile for this host's native interface and those that it names.
///
/// # Errors
/// Names the field that cannot be compiled: an argument's index, an errno, a program longer than the kernel takes.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, Error> {
    let native = Arch::native()
        .ok_or_else(|| Error::new("architectures", format!("no system call table for {}", std::env::consts::ARCH)))?;
    compile_for(profile, native)
}

fn compile_for(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    let mut arches = profile.architectures.clone();
    arches.push(native);
    arches.sort_unstable();
    arches.dedup();
    let rules = Rules::new(profile)?;

    let mut instructions = vec![load(ARCHITECTURE)];
    for audit in [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028] {
        let group: Vec<Arch> = arches.iter().copied().filter(|arch| audit_number(*arch) == audit).collect();
        if group.is_empty() {
            continue;
        }
        let mut section = vec![load(NUMBER)];
        section.extend(tree(&ranges(&rules, &group)));
        // The section may be longer than a conditional jump reaches.
        instructions.push(jump(JUMP_EQUAL, audit, 1, 0));
        instructions.push(jump(JUMP, u32::try_from(section.len()).unwrap_or(u32::MAX), 0, 0));
        instructions.extend(section);
    }
    instructions.push(answer(RETURN_KILL_PROCESS));
    if instructions.len() > INSTRUCTIONS_MAX {
        let reason = format!("{} instructions, of which the kernel takes {INSTRUCTIONS_MAX}", instructions.len());
        return Err(Error::new("syscalls", reason));
    }
    Ok(Program { instructions, flags: flags(profile, rules.notifies) })
}

/// The kernel's AUDIT_ARCH number; amd64 and x32 share one.
fn audit_number(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 | Arch::X32 => 0xc000_003e,
        Arch::X86 => 0x4000_0003,
        Arch::Aarch64 => 0xc000_00b7,
        Arch::Arm => 0x4000_0028,
    }
}

/// Without any word about flags runc leaves speculative store bypass on (`SPEC_ALLOW`): the slow-down of the other
/// choice is great, and the kernel itself no longer thinks it worth it.
fn flags(profile: &LinuxSeccomp, notifies: bool) -> u32 {
    let mut bits = match &profile.flags {
        None => FLAG_SPEC_ALLOW,
        Some(flags) => flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                Flag::Tsync => FLAG_TSYNC,
                Flag::Log => FLAG_LOG,
                Flag::SpecAllow => FLAG_SPEC_ALLOW,
                Flag::WaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
            }
        }),
    };
    if notifies {
        bits |= FLAG_NEW_LISTENER;
        if bits & FLAG_TSYNC != 0 {
            bits |= FLAG_TSYNC_ESRCH;
        }
    } else {
        // Of use with a listener only, and refused without.
        bits &= !FLAG_WAIT_KILLABLE_RECV;
    }
    bits
}

/// The rules, checked, with their answers in the kernel's numbers.
struct Rules<'a> {
    default: u32,
    /// For numbers that the profile cannot have known of.
    unknown: u32,
    rules: Vec<CheckedRule<'a>>,
    notifies: bool,
}

struct CheckedRule<'a> {
    names: &'a [String],
    answer: u32,
    /// Each inner list has to hold as a whole; one of them is enough. Empty: always.
    alternatives: Vec<&'a [Arg]>,
}

impl<'a> Rules<'a> {
    fn new(profile: &'a LinuxSeccomp) -> Result<Self, Error> {
        if profile.default_action == Action::Notify {
            return Err(Error::new("defaultAction", "SCMP_ACT_NOTIFY would wait for itself"));
        }
        let default = answer_of(profile.default_action, profile.default_errno_ret, "defaultErrnoRet")?;
        let refuses =
            matches!(profile.default_action, Action::Errno | Action::KillProcess | Action::KillThread | Action::Trap);
        let unknown = if refuses { RETURN_ERRNO | ENOSYS } else { default };
        let rules: Vec<_> =
            profile.syscalls.iter().enumerate().map(|(at, rule)| check_rule(at, rule)).collect::<Result<_, _>>()?;
        let notifies = profile.syscalls.iter().any(|rule| rule.action == Action::Notify);
        Ok(Self { default, unknown, rules, notifies })
    }
}

fn check_rule(at: usize, rule: &SyscallRule) -> Result<CheckedRule<'_>, Error> {
    let answer = answer_of(rule.action, rule.errno_ret, &format!("syscalls[{at}].errnoRet"))?;
    if rule.action == Action::Notify && rule.names.iter().any(|name| name == "write") {
        return Err(Error::new(format!("syscalls[{at}]"), "SCMP_ACT_NOTIFY on write would wait for itself"));
    }
    let mut seen = [false; 6];
    let mut repeated = false;
    for (number, arg) in rule.args.iter().enumerate() {
        let slot = usize::try_from(arg.index).ok().and_then(|index| seen.get_mut(index)).ok_or_else(|| {
            Error::new(format!("syscalls[{at}].args[{number}].index"), format!("{} is not in 0..=5", arg.index))
        })?;
        repeated |= std::mem::replace(slot, true);
    }
    let alternatives = match rule.args.as_slice() {
        [] => Vec::new(),
        // runc: two conditions on one argument make each condition a rule of its own.
        args if repeated => args.chunks(1).collect(),
        args => vec![args],
    };
    Ok(CheckedRule { names: &rule.names, answer, alternatives })
}

fn answer_of(action: Action, errno: Option<u32>, field: &str) -> Result<u32, Error> {
    let errno = errno.unwrap_or(EPERM);
    if matches!(action, Action::Errno | Action::Trace) && errno > ERRNO_MAX {
        return Err(Error::new(field, format!("{errno} is not in 0..={ERRNO_MAX}")));
    }
    Ok(match action {
        Action::KillThread => RETURN_KILL_THREAD,
        Action::KillProcess => RETURN_KILL_PROCESS,
        Action::Trap => RETURN_TRAP,
        Action::Errno => RETURN_ERRNO | errno,
        Action::Trace => RETURN_TRACE | errno,
        Action::Allow => RETURN_ALLOW,
        Action::Log => RETURN_LOG,
        Action::Notify => RETURN_NOTIFY,
    })
}

/// What is decided for a number: conditions in order, then an answer.
#[derive(Debug, Clone, PartialEq)]
struct Decision<'a> {
    conditions: Vec<(&'a [Arg], u32)>,
    otherwise: u32,
    /// Compare only the lower half of arguments: 32-bit programs have no other.
    narrow: bool,
}

impl Decision<'_> {
    fn always(answer: u32) -> Self {
        Self { conditions: Vec::new(), otherwise: answer, narrow: false }
    }
}

/// The decision from `first` up to the next range.
struct Range<'a> {
    first: u32,
    decision: Decision<'a>,
}

/// The ranges of the interfaces that share an AUDIT_ARCH number, from 0 to the end without a gap.
fn ranges<'a>(rules: &Rules<'a>, group: &[Arch]) -> Vec<Range<'a>> {
    let mut all = Vec::new();
    if group.iter().all(|arch| *arch == Arch::X32) {
        push(&mut all, 0, Decision::always(RETURN_KILL_PROCESS));
    }
    for arch in group {
        let base = if *arch == Arch::X32 { X32_BIT } else { 0 };
        let decisions = decisions(rules, *arch);
        let mut next = base;
        for (number, decision) in decisions {
            if base + number > next {
                push(&mut all, next, Decision::always(rules.default));
            }
            push(&mut all, base + number, decision);
            next = base + number + 1;
        }
        push(&mut all, next, Decision::always(rules.unknown));
    }
    if group == [Arch::X86_64] {
        push(&mut all, X32_BIT, Decision::always(RETURN_KILL_PROCESS));
    }
    // A tracer that skips a call leaves -1 as its number.
    push(&mut all, u32::MAX, Decision::always(rules.default));
    all
}

fn push<'a>(ranges: &mut Vec<Range<'a>>, first: u32, decision: Decision<'a>) {
    if ranges.last().is_none_or(|last| last.decision != decision) {
        ranges.push(Range { first, decision });
    }
}

fn decisions<'a>(rules: &Rules<'a>, arch: Arch) -> BTreeMap<u32, Decision<'a>> {
    let narrow = matches!(arch, Arch::X86 | Arch::Arm);
    let mut decisions: BTreeMap<u32, (Decision<'a>, bool)> = BTreeMap::new();
    for rule in &rules.rules {
        for number in rule.names.iter().filter_map(|name| tables::number(arch, name)) {
            let fresh = || (Decision { narrow, ..Decision::always(rules.default) }, false);
            let (decision, settled) = decisions.entry(number).or_insert_with(fresh);
            if rule.alternatives.is_empty() {
                if !std::mem::replace(settled, true) {
                    decision.otherwise = rule.answer;
                }
            } else {
                decision.conditions.extend(rule.alternatives.iter().map(|args| (*args, rule.answer)));
            }
        }
    }
    // Without conditions the width is nothing that should keep neighbours apart.
    let plain = |decision: Decision<'a>| {
        if decision.conditions.is_empty() { Decision::always(decision.otherwise) } else { decision }
    };
    decisions.into_iter().map(|(number, (decision, _))| (number, plain(decision))).collect()
}

fn instruction(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, offset)
}

fn answer(value: u32) -> Instruction {
    instruction(RETURN, value)
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

/// Halves the ranges by comparing the number, which is in the accumulator. Both halves are complete: each way through
/// them ends in an answer.
fn tree(ranges: &[Range<'_>]) -> Vec<Instruction> {
    let [only] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (low, pivot, high) = (tree(low), high[0].first, tree(high));
        let mut code = Vec::with_capacity(low.len() + high.len() + 2);
        match u8::try_from(low.len()) {
            Ok(distance) => code.push(jump(JUMP_GREATER_EQUAL, pivot, distance, 0)),
            Err(_) => {
                code.push(jump(JUMP_GREATER_EQUAL, pivot, 0, 1));
                code.push(jump(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX), 0, 0));
            }
        }
        code.extend(low);
        code.extend(high);
        return code;
    };
    let mut code = Vec::new();
    for (args, value) in &only.decision.conditions {
        code.extend(conditional(args, *value, only.decision.narrow));
    }
    code.push(answer(only.decision.otherwise));
    code
}

/// `args` hold: the answer; else go on behind it. Built from the back, where the distances are known. Six conditions
/// of six instructions at most, so every distance fits.
fn conditional(args: &[Arg], value: u32, narrow: bool) -> Vec<Instruction> {
    let mut code = vec![answer(value)];
    for arg in args.iter().rev() {
        let distance = u8::try_from(code.len()).unwrap_or(u8::MAX);
        let mut condition = if narrow { compare_low(arg, distance) } else { compare(arg, distance) };
        condition.append(&mut code);
        code = condition;
    }
    code
}

fn halves(value: u64) -> (u32, u32) {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (u32::try_from(value >> 32).unwrap_or(u32::MAX), low)
}

/// Where the halves of an argument are on a little-endian host, as all supported ones are: (high, low).
fn offsets(arg: &Arg) -> (u32, u32) {
    let low = ARGUMENTS + 8 * arg.index;
    (low + 4, low)
}

/// Compares the lower half alone. `fail` is the distance from behind the condition to where it does not hold.
fn compare_low(arg: &Arg, fail: u8) -> Vec<Instruction> {
    let (_, offset) = offsets(arg);
    let (_, value) = halves(arg.value);
    let mut code = vec![load(offset)];
    code.extend(compare_loaded(arg.op, value, halves(arg.value_two).1, fail));
    code
}

/// The comparison of what is in the accumulator with the lower half.
fn compare_loaded(op: Operator, value: u32, value_two: u32, fail: u8) -> Vec<Instruction> {
    match op {
        Operator::EqualTo => vec![jump(JUMP_EQUAL, value, 0, fail)],
        Operator::NotEqual => vec![jump(JUMP_EQUAL, value, fail, 0)],
        Operator::GreaterThan => vec![jump(JUMP_GREATER, value, 0, fail)],
        Operator::GreaterOrEqual => vec![jump(JUMP_GREATER_EQUAL, value, 0, fail)],
        Operator::LessThan => vec![jump(JUMP_GREATER_EQUAL, value, fail, 0)],
        Operator::LessOrEqual => vec![jump(JUMP_GREATER, value, fail, 0)],
        Operator::MaskedEqual => vec![instruction(AND, value), jump(JUMP_EQUAL, value_two, 0, fail)],
    }
}

/// Compares all 64 bits, the upper half first.
fn compare(arg: &Arg, fail: u8) -> Vec<Instruction> {
    let (high_offset, _) = offsets(arg);
    let (high, _) = halves(arg.value);
    let mut low_code = compare_low(arg, fail);
    let low = u8::try_from(low_code.len()).unwrap_or(u8::MAX);
    let mut code = vec![load(high_offset)];
    match arg.op {
        Operator::EqualTo => code.push(jump(JUMP_EQUAL, high, 0, low + fail)),
        Operator::NotEqual => code.push(jump(JUMP_EQUAL, high, 0, low)),
        Operator::GreaterThan | Operator::GreaterOrEqual => {
            code.push(jump(JUMP_GREATER, high, low + 1, 0));
            code.push(jump(JUMP_EQUAL, high, 0, low + fail));
        }
        Operator::LessThan | Operator::LessOrEqual => {
            code.push(jump(JUMP_GREATER, high, low + 1 + fail, 0));
            code.push(jump(JUMP_EQUAL, high, 0, low));
        }
        Operator::MaskedEqual => {
            code.push(instruction(AND, high));
            code.push(jump(JUMP_EQUAL, halves(arg.value_two).0, 0, low + fail));
        }
    }
    code.append(&mut low_code);
    code
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
