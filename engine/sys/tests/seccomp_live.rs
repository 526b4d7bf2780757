//! Programs and capabilities put in force on the running kernel, in a child that ends afterwards. Needs root.
#![expect(unsafe_code, reason = "fork, and raw system calls to see what the kernel answers")]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails is the failure of the test")]

use std::io;

use sys::capability::{self, Capability, CapabilitySet, CapabilitySets};
use sys::seccomp::{Host, LinuxSeccomp, Program, compile, docker_default};

/// Runs `probe` in a forked child and answers its exit status, 0 to 127, or minus the signal that ended it.
fn in_child(probe: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes system calls and uses memory of its own copy; it takes no lock that another thread of
    // the test could have held, because all it needs was prepared before.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", io::Error::last_os_error());
    if pid == 0 {
        let status = probe();
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above and writes one integer.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// The errno of a system call with these two arguments, 0 if it succeeds.
fn errno(number: libc::c_long, first: u64, second: u64) -> i32 {
    // SAFETY: the calls probed here take integers, or fail before they look at a pointer.
    let rc = unsafe { libc::syscall(number, first, second, 0, 0, 0, 0) };
    if rc < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(127) } else { 0 }
}

fn default_program() -> Program {
    let profile = docker_default().resolve(CapabilitySet::docker_default(), Host::detect().unwrap()).unwrap();
    compile(&profile).unwrap()
}

#[test]
fn dockers_profile_refuses_and_allows_on_the_running_kernel() {
    let program = default_program();
    let probes: [(libc::c_long, u64, u64, i32); 9] = [
        (libc::SYS_getppid, 0, 0, 0),
        (libc::SYS_unshare, 0x1000_0000, 0, libc::EPERM),
        (libc::SYS_clone3, 0, 0, libc::ENOSYS),
        (libc::SYS_io_uring_setup, 1, 0, libc::EPERM),
        (libc::SYS_socket, 38, 5, libc::EPERM),
        (libc::SYS_socket, 1 << 32 | 40, 1, libc::EPERM),
        (libc::SYS_socket, 1, 1, 0),
        (libc::SYS_personality, 0xffff_ffff, 0, 0),
        (999, 0, 0, libc::ENOSYS),
    ];
    for (number, first, second, expected) in probes {
        let got = in_child(|| match program.load() {
            Ok(None) => errno(number, first, second),
            _ => 126,
        });
        assert_eq!(got, expected, "call {number}({first:#x}, {second})");
    }
}

#[test]
fn a_killed_call_ends_the_process_with_sigsys() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;
    let program = compile(&serde_json::from_str::<LinuxSeccomp>(json).unwrap()).unwrap();
    let got = in_child(|| match program.load() {
        Ok(_) => errno(libc::SYS_getppid, 0, 0),
        Err(_) => 126,
    });
    assert_eq!(got, -libc::SIGSYS);
}

#[test]
fn a_program_that_notifies_answers_its_listener() {
    let json =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#;
    let program = compile(&serde_json::from_str::<LinuxSeccomp>(json).unwrap()).unwrap();
    assert_eq!(in_child(|| i32::from(!matches!(program.load(), Ok(Some(_))))), 0);
}

#[test]
fn the_default_set_is_what_the_process_has_and_inheritable_is_empty() {
    let wanted = CapabilitySet::docker_default();
    let (_, have, _) = capability::current().unwrap();
    let expected = wanted.intersection(have);
    let status = in_child(|| {
        let sets = CapabilitySets { bounding: wanted, effective: wanted, permitted: wanted, ..Default::default() };
        if capability::drop_bounding(sets.bounding).is_err() {
            return 1;
        }
        if capability::apply(&sets).is_err() {
            return 2;
        }
        match (capability::current(), capability::current_bounding()) {
            (Ok((effective, permitted, inheritable)), Ok(bounding)) => {
                let right = effective == expected && permitted == expected && bounding == expected;
                if right && inheritable.is_empty() { 0 } else { 3 }
            }
            _ => 4,
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn ambient_capabilities_come_with_their_inheritable_ones_only() {
    let one = CapabilitySet::EMPTY.with(Capability::NET_BIND_SERVICE);
    let status = in_child(|| {
        let sets = CapabilitySets { bounding: one, effective: one, permitted: one, ambient: one };
        if capability::apply(&sets).is_err() {
            return 1;
        }
        // SAFETY: asks about one bit of the ambient set; integers only.
        let ambient = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, 1, 10, 0, 0) };
        match capability::current() {
            Ok((_, _, inheritable)) if inheritable == one && ambient == 1 => 0,
            _ => 2,
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn names_are_taken_as_docker_takes_them() {
    let names = ["CAP_NET_ADMIN", "sys_ptrace", "Checkpoint_Restore"];
    let set = CapabilitySet::from_names(&names).unwrap();
    assert_eq!(set.bits(), 1 << 12 | 1 << 19 | 1 << 40);
    assert_eq!(serde_json::to_string(&set).unwrap(), r#"["CAP_NET_ADMIN","CAP_SYS_PTRACE","CAP_CHECKPOINT_RESTORE"]"#);
    assert_eq!(CapabilitySet::docker_default().bits(), 0xa804_25fb);
    assert_eq!("CAP_NO_SUCH".parse::<Capability>().unwrap_err().to_string(), "unknown capability \"CAP_NO_SUCH\"");
}
