//! The OCI runtime spec (runtime-spec 1.2) as this runtime reads it: parsed once, only the fields that are acted on,
//! with the resources and the seccomp profile in the models of `sys` that put them in force.
//!
//! A field that is set and cannot be honoured is refused by [`Spec::check`], by its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sys::cgroup::Limits;
use sys::namespace::NamespaceKind;

/// Largest `config.json`.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// `null` counts as absent, as Go encoders write it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(crate) oci_version: String,
    pub(crate) root: Option<Root>,
    pub(crate) process: Option<Process>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) hostname: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) domainname: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) hooks: Hooks,
    #[serde(deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) linux: Linux,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) readonly: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    pub(crate) console_size: Option<ConsoleSize>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: User,
    #[serde(deserialize_with = "or_default")]
    pub(crate) args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) capabilities: Option<Capabilities>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rlimits: Vec<Rlimit>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) no_new_privileges: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) apparmor_profile: String,
    pub(crate) oom_score_adj: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) selinux_label: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct ConsoleSize {
    pub(crate) height: u16,
    pub(crate) width: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) umask: Option<u32>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) additional_gids: Vec<u32>,
}

/// Names such as `CAP_CHOWN`. The inheritable set of a spec is not read: it is always empty here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    #[serde(deserialize_with = "or_default")]
    pub(crate) bounding: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) effective: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) permitted: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ambient: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rlimit {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Mount {
    pub(crate) destination: PathBuf,
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) source: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) options: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) uid_mappings: Vec<IdMapping>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) gid_mappings: Vec<IdMapping>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct IdMapping {
    #[serde(rename = "containerID")]
    pub(crate) container_id: u32,
    #[serde(rename = "hostID")]
    pub(crate) host_id: u32,
    pub(crate) size: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Hooks {
    #[serde(deserialize_with = "or_default")]
    pub(crate) prestart: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) create_runtime: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) create_container: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) start_container: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) poststart: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) poststop: Vec<Hook>,
}

impl Hooks {
    /// Whether a hook has to see the mounts before the root is switched.
    pub(crate) fn before_pivot(&self) -> bool {
        !(self.prestart.is_empty() && self.create_runtime.is_empty() && self.create_container.is_empty())
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Hook {
    pub(crate) path: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    /// Seconds.
    #[serde(default)]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Linux {
    #[serde(deserialize_with = "or_default")]
    pub(crate) uid_mappings: Vec<IdMapping>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) gid_mappings: Vec<IdMapping>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) sysctl: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) resources: Limits,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cgroups_path: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) devices: Vec<Device>,
    /// Kept as text: it is parsed and compiled only when no compiled program of it is at hand.
    pub(crate) seccomp: Option<Box<RawValue>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rootfs_propagation: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) masked_paths: Vec<PathBuf>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) readonly_paths: Vec<PathBuf>,
    pub(crate) intel_rdt: Option<Box<RawValue>>,
    pub(crate) personality: Option<Box<RawValue>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) time_offsets: BTreeMap<String, Box<RawValue>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) net_devices: BTreeMap<String, Box<RawValue>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: NamespaceName,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
}

/// The specification's names of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NamespaceName {
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

impl NamespaceName {
    pub(crate) const fn kind(self) -> NamespaceKind {
        match self {
            Self::Pid => NamespaceKind::Pid,
            Self::Network => NamespaceKind::Network,
            Self::Mount => NamespaceKind::Mount,
            Self::Ipc => NamespaceKind::Ipc,
            Self::Uts => NamespaceKind::Uts,
            Self::User => NamespaceKind::User,
            Self::Cgroup => NamespaceKind::Cgroup,
            Self::Time => NamespaceKind::Time,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    #[serde(rename = "type")]
    pub(crate) kind: DeviceType,
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) major: u32,
    #[serde(default)]
    pub(crate) minor: u32,
    pub(crate) file_mode: Option<u32>,
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum DeviceType {
    #[serde(rename = "c", alias = "u")]
    Char,
    #[serde(rename = "b")]
    Block,
    #[serde(rename = "p")]
    Fifo,
}

/// Where a namespace of a container comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamespaceSource<'a> {
    /// The runtime's own.
    Inherited,
    /// A new one.
    New,
    /// The one at this path.
    At(&'a Path),
}

impl Spec {
    /// Reads and checks `config.json`.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let len = std::fs::metadata(path).map_err(|e| named(&e))?.len();
        if len > CONFIG_BYTES_MAX {
            return Err(named(&format!("{len} bytes, the limit is {CONFIG_BYTES_MAX}")));
        }
        let text = std::fs::read(path).map_err(|e| named(&e))?;
        Self::parse(&text).map_err(|e| named(&e))
    }

    /// Parses and checks a spec.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let spec: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        spec.check()?;
        Ok(spec)
    }

    /// Refuses what is malformed or not built, before the first effect.
    fn check(&self) -> Result<(), String> {
        let not_built = |field: &str| Err(format!("{field}: not supported by the built-in runtime"));
        let linux = &self.linux;
        if linux.intel_rdt.is_some() {
            return not_built("linux.intelRdt");
        }
        if linux.personality.is_some() {
            return not_built("linux.personality");
        }
        if !linux.time_offsets.is_empty() {
            return not_built("linux.timeOffsets");
        }
        if !linux.net_devices.is_empty() {
            return not_built("linux.netDevices");
        }
        let mut seen = Vec::new();
        for namespace in &linux.namespaces {
            if seen.contains(&namespace.kind) {
                return Err(format!("linux.namespaces: {:?} is listed twice", namespace.kind));
            }
            seen.push(namespace.kind);
            if !namespace.path.is_empty() && !namespace.path.starts_with('/') {
                return Err(format!("linux.namespaces: {:?} is not an absolute path", namespace.path));
            }
        }
        if !seen.contains(&NamespaceName::Mount) {
            return Err("linux.namespaces: a new mount namespace is required".to_owned());
        }
        if !self.hostname.is_empty() && self.namespace(NamespaceName::Uts) == NamespaceSource::Inherited {
            return Err("hostname: needs a new uts namespace".to_owned());
        }
        self.check_paths()?;
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn check_paths(&self) -> Result<(), String> {
        for mount in &self.mounts {
            // Relative destinations are taken from the root, as runc does for old specs.
            if mount.destination.as_os_str().is_empty() {
                return Err("mounts: a destination is empty".to_owned());
            }
        }
        for (field, paths) in
            [("linux.maskedPaths", &self.linux.masked_paths), ("linux.readonlyPaths", &self.linux.readonly_paths)]
        {
            if let Some(path) = paths.iter().find(|p| !p.is_absolute()) {
                return Err(format!("{field}: {} is not absolute", path.display()));
            }
        }
        for name in self.linux.sysctl.keys() {
            self.check_sysctl(name)?;
        }
        Ok(())
    }

    /// A sysctl may only be set where it belongs to a namespace that is the container's own (CVE-2022-0532).
    fn check_sysctl(&self, name: &str) -> Result<(), String> {
        let dotted = name.replace('/', ".");
        let owner = match dotted.as_str() {
            "kernel.domainname" | "kernel.hostname" => NamespaceName::Uts,
            "kernel.msgmax"
            | "kernel.msgmnb"
            | "kernel.msgmni"
            | "kernel.sem"
            | "kernel.shmall"
            | "kernel.shmmax"
            | "kernel.shmmni"
            | "kernel.shm_rmid_forced" => NamespaceName::Ipc,
            other if other.starts_with("fs.mqueue.") => NamespaceName::Ipc,
            other if other.starts_with("net.") => NamespaceName::Network,
            other if other.starts_with("user.") => NamespaceName::User,
            _ => return Err(format!("linux.sysctl: {name} is not separate to a container")),
        };
        if self.namespace(owner) == NamespaceSource::Inherited {
            return Err(format!("linux.sysctl: {name} is the host's, as the container has no {owner:?} namespace"));
        }
        Ok(())
    }

    /// Where the namespace comes from.
    pub(crate) fn namespace(&self, name: NamespaceName) -> NamespaceSource<'_> {
        match self.linux.namespaces.iter().find(|n| n.kind == name) {
            None => NamespaceSource::Inherited,
            Some(n) if n.path.is_empty() => NamespaceSource::New,
            Some(n) => NamespaceSource::At(Path::new(&n.path)),
        }
    }
}

impl Process {
    /// Refuses what exec would misunderstand.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.args.is_empty() {
            return Err("process.args: must not be empty".to_owned());
        }
        if !self.cwd.is_absolute() {
            return Err(format!("process.cwd: {} is not an absolute path", self.cwd.display()));
        }
        if let Some(entry) = self.env.iter().find(|e| !e.as_bytes().iter().skip(1).any(|b| *b == b'=')) {
            return Err(format!("process.env: {entry:?} is not NAME=VALUE"));
        }
        for (field, values) in [("process.args", &self.args), ("process.env", &self.env)] {
            if values.iter().any(|v| v.contains('\0')) {
                return Err(format!("{field}: contains a NUL byte"));
            }
        }
        if self.user.uid == u32::MAX || self.user.gid == u32::MAX || self.user.additional_gids.contains(&u32::MAX) {
            return Err("process.user: 4294967295 is no id".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Result<Spec, String> {
        let text = format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},"process":{{"args":["true"],"cwd":"/"}},
            "mounts":null,"linux":{{"namespaces":[{{"type":"mount"}}]{extra}}}}}"#
        );
        Spec::parse(text.as_bytes())
    }

    #[test]
    fn null_is_absent() {
        assert!(parse("").unwrap().mounts.is_empty());
    }

    #[test]
    fn sysctls_of_the_host_are_refused_by_name() {
        let error = parse(r#","sysctl":{"net.ipv4.ip_forward":"1"}"#).unwrap_err();
        assert!(error.contains("net.ipv4.ip_forward"), "{error}");
        let error = parse(r#","sysctl":{"kernel.core_pattern":"|x"}"#).unwrap_err();
        assert!(error.contains("kernel.core_pattern"), "{error}");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        assert!(parse(r#","personality":{"domain":"LINUX32"}"#).unwrap_err().contains("linux.personality"));
    }

    #[test]
    fn an_environment_entry_needs_a_name() {
        let process = Process { args: vec!["x".into()], cwd: "/".into(), env: vec!["=x".into()], ..Process::default() };
        assert!(process.check().unwrap_err().contains("NAME=VALUE"));
    }
}
