//! OCI `linux.seccomp` (runtime-spec, config-linux.md): the profile of one container, without conditions.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::Arch;

/// OCI `linux.seccomp`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSeccomp {
    /// For system calls that no rule matches.
    pub default_action: Action,
    /// The errno of `default_action` where it has one; EPERM if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Which system call interfaces are handled; others are killed. Empty means the native one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Arch>,
    /// Flags of seccomp(2); absent means what is best for speed, `SPEC_ALLOW`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Flag>>,
    /// Socket to which the listener of `SCMP_ACT_NOTIFY` is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Passed on to the listener.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallRule>,
}

/// What happens to a system call (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Kill the thread.
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// Kill the process.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// Send SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// Fail with the rule's errno.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// Tell a tracer, with the rule's errno as the message.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Go on.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// Go on, and log.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// Ask the listener.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// Flags of seccomp(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flag {
    /// Put the filter on all threads. One-threaded as the caller is, it changes nothing.
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    /// Log what is not allowed.
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    /// Leave speculative store bypass on.
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    /// A notified call can only be killed while the listener has it.
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillableRecv,
}

/// One rule: these system calls, if all `args` hold, get `action`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Names; one that an architecture does not have is passed over there, as in every runtime.
    pub names: Vec<String>,
    /// What to do.
    pub action: Action,
    /// The errno of `action` where it has one; EPERM if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments. As in runc, two on one argument are alternatives, else all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arg {
    /// 0 to 5.
    pub index: u32,
    /// Compared with; the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// The value after masking, for [`Operator::MaskedEqual`].
    #[serde(default)]
    pub value_two: u64,
    /// How to compare.
    pub op: Operator,
}

/// Comparisons, unsigned, on all 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// `!=`
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// `<`
    #[serde(rename = "SCMP_CMP_LT")]
    LessThan,
    /// `<=`
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// `==`
    #[serde(rename = "SCMP_CMP_EQ")]
    EqualTo,
    /// `>=`
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// `>`
    #[serde(rename = "SCMP_CMP_GT")]
    GreaterThan,
    /// `argument & value == value_two`
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl LinuxSeccomp {
    /// A key under which the compiled program can be kept within this process. It does not depend on where the
    /// listener is.
    #[must_use]
    pub fn cache_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.default_action.hash(&mut hasher);
        self.default_errno_ret.hash(&mut hasher);
        self.architectures.hash(&mut hasher);
        self.flags.hash(&mut hasher);
        self.syscalls.hash(&mut hasher);
        hasher.finish()
    }
}
