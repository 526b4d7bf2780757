//! Linux capabilities (capabilities(7)): names, sets as bit masks, and how the calling thread gets them.
//!
//! The inheritable set is never anything but empty: CVE-2022-29162 and CVE-2025-27612 were that one mistake.
#![expect(unsafe_code, reason = "capset(2) and prctl(2) for capabilities have no safe wrapper with 64-bit sets")]

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The capabilities' names without `CAP_`, in the order of the kernel's numbers (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// One capability, by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_CHOWN`
    pub const CHOWN: Self = Self(0);
    /// `CAP_DAC_OVERRIDE`
    pub const DAC_OVERRIDE: Self = Self(1);
    /// `CAP_FOWNER`
    pub const FOWNER: Self = Self(3);
    /// `CAP_FSETID`
    pub const FSETID: Self = Self(4);
    /// `CAP_KILL`
    pub const KILL: Self = Self(5);
    /// `CAP_SETGID`
    pub const SETGID: Self = Self(6);
    /// `CAP_SETUID`
    pub const SETUID: Self = Self(7);
    /// `CAP_SETPCAP`
    pub const SETPCAP: Self = Self(8);
    /// `CAP_NET_BIND_SERVICE`
    pub const NET_BIND_SERVICE: Self = Self(10);
    /// `CAP_NET_ADMIN`
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_NET_RAW`
    pub const NET_RAW: Self = Self(13);
    /// `CAP_SYS_CHROOT`
    pub const SYS_CHROOT: Self = Self(18);
    /// `CAP_SYS_PTRACE`
    pub const SYS_PTRACE: Self = Self(19);
    /// `CAP_SYS_ADMIN`
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_SYS_RESOURCE`
    pub const SYS_RESOURCE: Self = Self(24);
    /// `CAP_MKNOD`
    pub const MKNOD: Self = Self(27);
    /// `CAP_AUDIT_WRITE`
    pub const AUDIT_WRITE: Self = Self(29);
    /// `CAP_SETFCAP`
    pub const SETFCAP: Self = Self(31);

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name with its `CAP_`.
    #[must_use]
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }

    /// All that this code knows, in the kernel's order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..41).map(Self)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCapability(String);

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown capability {:?}", self.0)
    }
}

impl std::error::Error for UnknownCapability {}

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// Accepts `CAP_NET_ADMIN`, `NET_ADMIN` and lower case, as docker does.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let position = NAMES.iter().position(|known| *known == bare);
        position
            .and_then(|number| u8::try_from(number).ok())
            .map(Self)
            .ok_or_else(|| UnknownCapability(name.chars().take(64).collect()))
    }
}

/// A set of capabilities: bit `n` is the capability with the kernel's number `n`. Serializes as a list of names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Every capability that this code knows.
    #[must_use]
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// What a container has unless told otherwise: docker's default set, which containerd and CRI-O share.
    #[must_use]
    pub fn docker_default() -> Self {
        use Capability as C;
        [
            C::CHOWN,
            C::DAC_OVERRIDE,
            C::FSETID,
            C::FOWNER,
            C::MKNOD,
            C::NET_RAW,
            C::SETGID,
            C::SETUID,
            C::SETFCAP,
            C::SETPCAP,
            C::NET_BIND_SERVICE,
            C::SYS_CHROOT,
            C::KILL,
            C::AUDIT_WRITE,
        ]
        .into_iter()
        .collect()
    }

    /// The set with these bits, as `/proc/<pid>/status` prints them.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `capability` is in it.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// The set with `capability`.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// The set without `capability`.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability.0))
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its members, in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::all().filter(move |capability| self.contains(*capability))
    }

    /// The set of these names; the first unknown one is the error.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownCapability> {
        names.iter().map(|name| name.as_ref().parse::<Capability>()).collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for CapabilitySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Capability::name))
    }
}

impl<'de> Deserialize<'de> for CapabilitySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Self::from_names(&names).map_err(serde::de::Error::custom)
    }
}

/// The sets of a process that is about to run; there is no inheritable set, on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapabilitySets {
    /// What any exec below may ever gain.
    pub bounding: CapabilitySet,
    /// What is in force.
    pub effective: CapabilitySet,
    /// What may be put in force.
    pub permitted: CapabilitySet,
    /// What a program without file capabilities keeps across exec. Needs inheritable, so it is clamped to nothing
    /// unless [`apply`] is asked for it by a non-empty set.
    pub ambient: CapabilitySet,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn high(bits: u64) -> u32 {
    low(bits >> 32)
}

/// The calling thread's (effective, permitted, inheritable).
pub fn current() -> io::Result<(CapabilitySet, CapabilitySet, CapabilitySet)> {
    let mut header = Header { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of capget(2) reads one header and writes two data entries, which is what it is given.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    let join = |lo: u32, hi: u32| CapabilitySet(u64::from(lo) | u64::from(hi) << 32);
    let [a, b] = data;
    Ok((join(a.effective, b.effective), join(a.permitted, b.permitted), join(a.inheritable, b.inheritable)))
}

/// The calling thread's bounding set.
pub fn current_bounding() -> io::Result<CapabilitySet> {
    let mut set = CapabilitySet::EMPTY;
    for capability in Capability::all() {
        match prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability.0), 0) {
            Ok(0) => {}
            Ok(_) => set = set.with(capability),
            // A capability newer than this kernel.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(set)
}

fn prctl(option: i32, arg2: libc::c_ulong, arg3: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: the options used here take integers only; no memory is passed.
    let rc = unsafe { libc::prctl(option, arg2, arg3, 0, 0) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// Drops from the calling thread's bounding set all that is not in `keep`. Needs `CAP_SETPCAP`, so it comes before
/// the user is changed.
pub fn drop_bounding(keep: CapabilitySet) -> io::Result<()> {
    let have = current_bounding()?;
    for number in 0..64u8 {
        let known = usize::from(number) < NAMES.len();
        if known && (keep.contains(Capability(number)) || !have.contains(Capability(number))) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0) {
            Ok(_) => {}
            // Past the kernel's last capability: nothing further to drop.
            Err(error) if !known && error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Keeps the permitted set across the next change of user (`SECBIT_KEEP_CAPS`; cleared by exec).
pub fn keep_across_setuid(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0).map(drop)
}

/// Sets effective and permitted of the calling thread; inheritable becomes `inheritable`, which is empty but while
/// ambient capabilities are raised.
fn set(effective: CapabilitySet, permitted: CapabilitySet, inheritable: CapabilitySet) -> io::Result<()> {
    let mut header = Header { version: CAPABILITY_VERSION_3, pid: 0 };
    let entry = |half: fn(u64) -> u32| Data {
        effective: half(effective.0),
        permitted: half(permitted.0),
        inheritable: half(inheritable.0),
    };
    let data = [entry(low), entry(high)];
    // SAFETY: version 3 of capset(2) reads one header and two data entries, which is what it is given.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    if rc != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives the calling thread the sets, after the user was changed under [`keep_across_setuid`]. What it does not have
/// itself cannot be given: permitted and effective are clamped to what it has (an engine nested in a container).
///
/// Inheritable ends up empty. The kernel allows ambient only within inheritable, so a wanted ambient set (a
/// non-root user that was explicitly given capabilities) is the one exception, and then inheritable equals it.
pub fn apply(sets: &CapabilitySets) -> io::Result<()> {
    let (_, have, _) = current()?;
    let permitted = sets.permitted.intersection(have);
    let effective = sets.effective.intersection(permitted);
    let ambient = sets.ambient.intersection(permitted);
    match prctl(libc::PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0) {
        Ok(_) => {}
        // Linux before 4.3 has no ambient set.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(error),
    }
    set(effective, permitted, ambient)?;
    for capability in ambient.iter() {
        prctl(libc::PR_CAP_AMBIENT, 2, libc::c_ulong::from(capability.0))?;
    }
    Ok(())
}
