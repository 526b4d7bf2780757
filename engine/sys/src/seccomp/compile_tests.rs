//! Programs run in a small interpreter, against a model that reads the rules as a person would.

use proptest::prelude::*;

use super::super::{Host, KernelVersion, docker_default};
use super::*;
use crate::capability::{Capability, CapabilitySet};

const ALL: [Arch; 5] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];

/// Classic BPF as seccomp has it, over (architecture, number, arguments).
fn run(program: &[Instruction], audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => audit,
        _ => {
            let (index, rest) = (usize::try_from((offset - ARGUMENTS) / 8).unwrap(), (offset - ARGUMENTS) % 8);
            let (high, low) = halves(args[index]);
            if rest == 4 { high } else { low }
        }
    };
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jump_true } else { jump_false });
        match code {
            LOAD => accumulator = word(operand),
            AND => accumulator &= operand,
            JUMP => at += usize::try_from(operand).unwrap(),
            JUMP_EQUAL => branch(accumulator == operand),
            JUMP_GREATER => branch(accumulator > operand),
            JUMP_GREATER_EQUAL => branch(accumulator >= operand),
            RETURN => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn holds(arg: &Arg, args: [u64; 6], arch: Arch) -> bool {
    let narrow = matches!(arch, Arch::X86 | Arch::Arm);
    let cut = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let (have, value, two) = (cut(args[arg.index as usize]), cut(arg.value), cut(arg.value_two));
    match arg.op {
        Operator::NotEqual => have != value,
        Operator::LessThan => have < value,
        Operator::LessOrEqual => have <= value,
        Operator::EqualTo => have == value,
        Operator::GreaterOrEqual => have >= value,
        Operator::GreaterThan => have > value,
        Operator::MaskedEqual => have & value == two,
    }
}

/// What the profile says about a call, read off the rules one by one.
fn model(profile: &LinuxSeccomp, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
    let of = |rule: &SyscallRule| answer_of(rule.action, rule.errno_ret, "").unwrap();
    let mine = |rule: &&SyscallRule| rule.names.iter().any(|name| tables::number(arch, name) == Some(number));
    let matches = |rule: &&SyscallRule| {
        let mut indexes: Vec<u32> = rule.args.iter().map(|arg| arg.index).collect();
        indexes.sort_unstable();
        let repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
        let mut each = rule.args.iter().map(|arg| holds(arg, args, arch));
        if repeated { each.any(|holds| holds) } else { each.all(|holds| holds) }
    };
    let conditional = profile.syscalls.iter().filter(mine).filter(|rule| !rule.args.is_empty()).find(matches);
    let plain = profile.syscalls.iter().filter(mine).find(|rule| rule.args.is_empty());
    if let Some(rule) = conditional.or(plain) {
        return of(rule);
    }
    let known = profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|name| tables::number(arch, name));
    let refuses = !matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace);
    if refuses && known.max().is_none_or(|last| number > last) {
        return RETURN_ERRNO | ENOSYS;
    }
    answer_of(profile.default_action, profile.default_errno_ret, "").unwrap()
}

/// Values on and around everything that `profile` compares with.
fn samples(profile: &LinuxSeccomp) -> Vec<u64> {
    let compared = profile.syscalls.iter().flat_map(|rule| &rule.args).flat_map(|arg| [arg.value, arg.value_two]);
    let mut values: Vec<u64> = compared
        .chain([0, 1, u64::MAX, 1 << 31, 1 << 32])
        .flat_map(|v| [v, v.wrapping_add(1), v.wrapping_sub(1), v | 1 << 32, v ^ 1 << 63, v & 0xffff_ffff])
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn assert_agrees(profile: &LinuxSeccomp, native: Arch) {
    let program = compile_for(profile, native).unwrap();
    let values = samples(profile);
    let mut arches = profile.architectures.clone();
    arches.push(native);
    for arch in arches {
        let base = if arch == Arch::X32 { X32_BIT } else { 0 };
        let private = (0xf_0000..0xf_0008).filter(|_| arch == Arch::Arm);
        for number in (0..600).chain(private).chain([0x3fff_ffff]) {
            let check = |args: [u64; 6]| {
                let got = run(&program.instructions, audit_number(arch), base + number, args);
                assert_eq!(got, model(profile, arch, number, args), "{arch:?} {number} {args:x?}");
            };
            check([0; 6]);
            let looked_at = profile.syscalls.iter().any(|rule| {
                !rule.args.is_empty() && rule.names.iter().any(|name| tables::number(arch, name) == Some(number))
            });
            if looked_at {
                for (index, value) in values.iter().enumerate() {
                    check([*value; 6]);
                    check(std::array::from_fn(|slot| values[(index + slot) % values.len()]));
                }
            }
        }
    }
}

fn host(arch: Arch) -> Host {
    Host { arch, kernel: KernelVersion { major: 6, minor: 18 } }
}

#[test]
fn dockers_profile_means_what_it_says_with_every_set_of_capabilities() {
    let sets = [
        CapabilitySet::EMPTY,
        CapabilitySet::docker_default(),
        CapabilitySet::docker_default().with(Capability::SYS_ADMIN),
        CapabilitySet::all(),
    ];
    for set in sets {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let profile = docker_default().resolve(set, host(arch)).unwrap();
            assert_agrees(&profile, arch);
        }
    }
}

fn default_answer(arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let profile = docker_default().resolve(CapabilitySet::docker_default(), host(Arch::X86_64)).unwrap();
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    let base = if arch == Arch::X32 { X32_BIT } else { 0 };
    run(&program.instructions, audit_number(arch), base + tables::number(arch, name).unwrap(), args)
}

#[test]
fn dockers_profile_allows_and_refuses_what_it_is_known_for() {
    let refused = RETURN_ERRNO | EPERM;
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        let with = |name: &str, arg: u64| default_answer(arch, name, [arg, 0, 0, 0, 0, 0]);
        for name in ["openat", "execve", "futex", "chroot", "ptrace", "personality", "clone", "memfd_create"] {
            assert_eq!(with(name, 0), RETURN_ALLOW, "{arch:?} {name}");
        }
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "io_uring_enter",
            "kexec_load",
            "userfaultfd",
            "reboot",
            "init_module",
            "open_by_handle_at",
            "swapon",
            "move_mount",
            "pivot_root",
            "syslog",
        ] {
            assert_eq!(with(name, 0), refused, "{arch:?} {name}");
        }
        assert_eq!(with("clone3", 0), RETURN_ERRNO | ENOSYS);
        assert_eq!(with("clone", 0x1000_0000), refused, "a new user namespace");
        assert_eq!(with("personality", 0x0004_0000), refused, "no randomisation");
        for (family, expected) in [(2, RETURN_ALLOW), (38, refused), (40, refused), (44, RETURN_ALLOW)] {
            assert_eq!(with("socket", family), expected, "{arch:?} family {family}");
        }
    }
    let high_bits = [1 << 32 | 40, 0, 0, 0, 0, 0];
    assert_eq!(default_answer(Arch::X86_64, "socket", high_bits), refused);
    assert_eq!(default_answer(Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]), refused);
    assert_eq!(default_answer(Arch::X86, "socketcall", [3, 0, 0, 0, 0, 0]), RETURN_ALLOW);
}

#[test]
fn ptrace_needs_a_kernel_that_lets_seccomp_see_behind_it() {
    let old = Host { arch: Arch::X86_64, kernel: KernelVersion { major: 4, minor: 7 } };
    let profile = docker_default().resolve(CapabilitySet::EMPTY, old).unwrap();
    assert!(!profile.syscalls.iter().any(|rule| rule.names.iter().any(|name| name == "ptrace")));
}

#[test]
fn another_interface_is_killed() {
    let profile = LinuxSeccomp { architectures: vec![], ..allow_all() };
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    let at = |audit, number| run(&program.instructions, audit, number, [0; 6]);
    assert_eq!(at(0xc000_003e, 0), RETURN_ALLOW);
    assert_eq!(at(0x4000_0003, 0), RETURN_KILL_PROCESS);
    assert_eq!(at(0xc000_003e, X32_BIT), RETURN_KILL_PROCESS);
    assert_eq!(at(0xc000_003e, u32::MAX), RETURN_ALLOW);
    assert_eq!(at(0x1234, 0), RETURN_KILL_PROCESS);
}

fn allow_all() -> LinuxSeccomp {
    serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap()
}

#[test]
fn what_cannot_be_compiled_names_its_field() {
    let cases = [
        (r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5000}"#, "syscalls[0].errnoRet"),
        (r#"{"names":["write"],"action":"SCMP_ACT_NOTIFY"}"#, "syscalls[0]"),
        (
            r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
            "syscalls[0].args[0].index",
        ),
    ];
    for (rule, field) in cases {
        let profile = LinuxSeccomp { syscalls: vec![serde_json::from_str(rule).unwrap()], ..allow_all() };
        assert_eq!(compile_for(&profile, Arch::X86_64).unwrap_err().field, field);
    }
    let notify = LinuxSeccomp { default_action: Action::Notify, ..allow_all() };
    assert_eq!(compile_for(&notify, Arch::X86_64).unwrap_err().field, "defaultAction");
}

#[test]
fn a_listener_is_asked_for_only_where_a_rule_notifies() {
    let mut profile = allow_all();
    profile.flags = Some(vec![Flag::Tsync, Flag::Log, Flag::WaitKillableRecv]);
    assert_eq!(compile(&profile).unwrap().flags, FLAG_TSYNC | FLAG_LOG);
    profile.syscalls = vec![serde_json::from_str(r#"{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}"#).unwrap()];
    let program = compile(&profile).unwrap();
    assert!(program.has_listener());
    assert_eq!(program.flags & FLAG_TSYNC_ESRCH, FLAG_TSYNC_ESRCH);
    profile.flags = None;
    assert_eq!(compile(&profile).unwrap().flags, FLAG_SPEC_ALLOW | FLAG_NEW_LISTENER);
}

#[test]
fn dockers_profile_compiles_to_a_small_program_with_a_key_of_its_own() {
    let set = CapabilitySet::docker_default();
    let profile = docker_default().resolve(set, host(Arch::X86_64)).unwrap();
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    assert!(program.instructions.len() < 800, "{} instructions", program.instructions.len());
    let other = docker_default().resolve(set.with(Capability::SYS_ADMIN), host(Arch::X86_64)).unwrap();
    assert_ne!(profile.cache_key(), other.cache_key());
    assert_eq!(profile.cache_key(), profile.clone().cache_key());
}

fn any_action() -> impl Strategy<Value = Action> {
    use Action as A;
    prop::sample::select(vec![A::KillThread, A::KillProcess, A::Trap, A::Errno, A::Trace, A::Allow, A::Log])
}

fn any_arg() -> impl Strategy<Value = Arg> {
    use Operator as O;
    let operators =
        [O::NotEqual, O::LessThan, O::LessOrEqual, O::EqualTo, O::GreaterOrEqual, O::GreaterThan, O::MaskedEqual];
    let value = prop_oneof![any::<u64>(), 0..4u64, Just(1 << 32), Just(u64::MAX), (0..4u64).prop_map(|v| v << 32 | v)];
    (0..6u32, value.clone(), value, prop::sample::select(operators.to_vec()))
        .prop_map(|(index, value, value_two, op)| Arg { index, value, value_two, op })
}

fn any_rule() -> impl Strategy<Value = SyscallRule> {
    let names =
        prop::collection::vec(prop::sample::select(vec!["read", "open", "clone", "socket", "mseal", "nosuch"]), 1..3);
    let args = prop::collection::vec(any_arg(), 0..4);
    (names, any_action(), prop::option::of(0..4096u32), args).prop_map(|(names, action, errno_ret, args)| SyscallRule {
        names: names.into_iter().map(str::to_owned).collect(),
        action,
        errno_ret,
        args,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_profile_means_what_it_says(
        default_action in any_action(),
        default_errno_ret in prop::option::of(0..4096u32),
        architectures in prop::sample::subsequence(ALL.to_vec(), 0..=5),
        syscalls in prop::collection::vec(any_rule(), 0..6),
    ) {
        let profile = LinuxSeccomp { default_action, default_errno_ret, architectures, syscalls, ..allow_all() };
        assert_agrees(&profile, Arch::X86_64);
    }
}
