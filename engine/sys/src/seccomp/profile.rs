//! docker's seccomp profile format (moby `profiles/seccomp`): rules under conditions.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Action, Arch, Arg, Error, Flag, LinuxSeccomp, SyscallRule};
use crate::capability::{Capability, CapabilitySet};

/// A profile as `--security-opt seccomp=FILE` and CRI's localhost profiles give it. An OCI `linux.seccomp` document
/// is one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// For system calls that no rule matches.
    pub default_action: Action,
    /// The errno of `default_action` where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures as they are; not together with `arch_map`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Which other interfaces go with a native one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchMapping>,
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
    #[serde(default, deserialize_with = "null_as_default")]
    pub syscalls: Vec<ProfileRule>,
}

/// An entry of `archMap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMapping {
    /// The native interface.
    pub architecture: String,
    /// What else runs there.
    #[serde(default, deserialize_with = "null_as_default")]
    pub sub_architectures: Vec<String>,
}

/// A rule and when it applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRule {
    /// One name, the older form of `names`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Names of system calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What to do.
    pub action: Action,
    /// The errno of `action` where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// All of these must hold.
    #[serde(default, deserialize_with = "null_as_default")]
    pub includes: Conditions,
    /// None of these may hold.
    #[serde(default, deserialize_with = "null_as_default")]
    pub excludes: Conditions,
}

/// Conditions of a rule; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conditions {
    /// Architectures in Go's or the kernel's names (`amd64`, `x32`, `s390x`).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// Capabilities.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// The oldest kernel, as `major.minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<KernelVersion>,
}

/// A kernel release as `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads `major.minor` off the front of a release such as `6.1.0-13-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl Serialize for KernelVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{}", self.major, self.minor))
    }
}

impl<'de> Deserialize<'de> for KernelVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not major.minor")))
    }
}

/// docker's default profile, as data in `default.json`.
#[must_use]
pub fn docker_default() -> &'static Profile {
    static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
        // A test parses the same bytes.
        Profile::from_json(include_bytes!("default.json")).unwrap_or_else(|error| unreachable!("{error}"))
    });
    &PROFILE
}

/// What conditions are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// The native interface.
    pub arch: Arch,
    /// The running kernel.
    pub kernel: KernelVersion,
}

impl Host {
    /// This host.
    pub fn detect() -> Result<Self, Error> {
        let arch = Arch::native()
            .ok_or_else(|| Error::new("archMap", format!("no system call table for {}", std::env::consts::ARCH)))?;
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        let kernel = KernelVersion::parse(&release)
            .ok_or_else(|| Error::new("minKernel", format!("cannot read the kernel's release {release:?}")))?;
        Ok(Self { arch, kernel })
    }
}

impl Profile {
    /// Parses docker's JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json).map_err(|error| Error::new("profile", error.to_string()))
    }

    /// The rules that hold for a container with these capabilities on this host.
    pub fn resolve(&self, capabilities: CapabilitySet, host: Host) -> Result<LinuxSeccomp, Error> {
        let mut syscalls = Vec::with_capacity(self.syscalls.len());
        for (index, rule) in self.syscalls.iter().enumerate() {
            if !rule.name.is_empty() && !rule.names.is_empty() {
                return Err(Error::new(format!("syscalls[{index}]"), "both name and names are given"));
            }
            if !rule.includes.all_hold(capabilities, host, index)?
                || rule.excludes.any_holds(capabilities, host, index)?
            {
                continue;
            }
            let mut names = rule.names.clone();
            if !rule.name.is_empty() {
                names.push(rule.name.clone());
            }
            let (action, errno_ret, args) = (rule.action, rule.errno_ret, rule.args.clone());
            syscalls.push(SyscallRule { names, action, errno_ret, args });
        }
        Ok(LinuxSeccomp {
            default_action: self.default_action,
            default_errno_ret: self.default_errno_ret,
            architectures: self.resolve_architectures(host)?,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls,
        })
    }

    fn resolve_architectures(&self, host: Host) -> Result<Vec<Arch>, Error> {
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err(Error::new("architectures", "both architectures and archMap are given"));
        }
        if !self.architectures.is_empty() {
            return self
                .architectures
                .iter()
                .map(|name| {
                    Arch::from_oci_name(name)
                        .ok_or_else(|| Error::new("architectures", format!("no system call table for {name:?}")))
                })
                .collect();
        }
        let native = self.arch_map.iter().find(|entry| Arch::from_oci_name(&entry.architecture) == Some(host.arch));
        let Some(entry) = native else { return Ok(vec![host.arch]) };
        let others = entry.sub_architectures.iter().filter_map(|name| Arch::from_oci_name(name));
        Ok(std::iter::once(host.arch).chain(others).collect())
    }
}

impl Conditions {
    fn caps(&self, index: usize) -> Result<Vec<Capability>, Error> {
        let parse = |name: &String| {
            name.parse().map_err(|e: crate::capability::UnknownCapability| {
                Error::new(format!("syscalls[{index}].caps"), e.to_string())
            })
        };
        self.caps.iter().map(parse).collect()
    }

    /// As `includes`: one of the architectures, each of the capabilities, the kernel.
    fn all_hold(&self, capabilities: CapabilitySet, host: Host, index: usize) -> Result<bool, Error> {
        let arch = self.arches.is_empty() || self.arches.iter().any(|name| name == host.arch.go_name());
        let caps = self.caps(index)?.into_iter().all(|wanted| capabilities.contains(wanted));
        let kernel = self.min_kernel.is_none_or(|oldest| host.kernel >= oldest);
        Ok(arch && caps && kernel)
    }

    /// As `excludes`: any of the architectures or capabilities, or the kernel.
    fn any_holds(&self, capabilities: CapabilitySet, host: Host, index: usize) -> Result<bool, Error> {
        let arch = self.arches.iter().any(|name| name == host.arch.go_name());
        let caps = self.caps(index)?.into_iter().any(|wanted| capabilities.contains(wanted));
        let kernel = self.min_kernel.is_some_and(|oldest| host.kernel >= oldest);
        Ok(arch || caps || kernel)
    }
}

/// Go writes an empty list as `null`.
fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}
