//! `/containers`.

mod host_config;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, DriverConfig, HostConfig, ImageOptions, LogConfig, Mount, PortBinding,
    RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};

use crate::Empty;
use crate::network::{EndpointSettings, NetworkingConfig};
use crate::skip::zero;

/// A command: read from a list or from one string, written as a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct StrSlice(pub Vec<String>);

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrString;
        impl<'de> Visitor<'de> for ListOrString {
            type Value = StrSlice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_unit<E>(self) -> Result<StrSlice, E> {
                Ok(StrSlice::default())
            }
            fn visit_str<E>(self, text: &str) -> Result<StrSlice, E> {
                Ok(StrSlice(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<StrSlice, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(StrSlice(list))
            }
        }
        deserializer.deserialize_any(ListOrString)
    }
}

/// The portable part of a container: body of create, and `Config` of inspect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// Hostname.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`.
    pub user: String,
    /// The client wants stdin.
    pub attach_stdin: bool,
    /// The client wants stdout.
    pub attach_stdout: bool,
    /// The client wants stderr.
    pub attach_stderr: bool,
    /// `80/tcp`.
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// A terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub open_stdin: bool,
    /// Close stdin when the first client leaves.
    pub stdin_once: bool,
    /// Environment.
    pub env: Option<Vec<String>>,
    /// Command.
    pub cmd: Option<StrSlice>,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows.
    #[serde(skip_serializing_if = "zero")]
    pub args_escaped: bool,
    /// Image.
    pub image: String,
    /// Anonymous volumes.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory.
    pub working_dir: String,
    /// Entrypoint.
    pub entrypoint: Option<StrSlice>,
    /// No network at all, older form.
    #[serde(skip_serializing_if = "zero")]
    pub network_disabled: bool,
    /// Hardware address, older form.
    #[serde(skip_serializing_if = "zero")]
    pub mac_address: String,
    /// Build triggers; not used for containers.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Stop signal.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// Seconds to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<StrSlice>,
}

/// A health check; durations in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", …]`; empty = the image's.
    #[serde(skip_serializing_if = "zero")]
    pub test: Vec<String>,
    /// Between probes.
    #[serde(skip_serializing_if = "zero")]
    pub interval: i64,
    /// For one probe.
    #[serde(skip_serializing_if = "zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "zero")]
    pub start_period: i64,
    /// Between probes in the start period (1.44).
    #[serde(skip_serializing_if = "zero")]
    pub start_interval: i64,
    /// Failures in a row.
    #[serde(skip_serializing_if = "zero")]
    pub retries: i64,
}

/// What create carries beside [`Config`]; both are read from the same object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateExtras {
    /// The part that belongs to this host.
    pub host_config: HostConfig,
    /// Networks.
    pub networking_config: NetworkingConfig,
}

/// Answer of create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateResponse {
    /// Its id.
    pub id: String,
    /// Things to know.
    pub warnings: Vec<String>,
}

/// Answer of update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateResponse {
    /// Things to know.
    pub warnings: Option<Vec<String>>,
}

/// Answer of wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitResponse {
    /// Exit code.
    pub status_code: i64,
    /// Why it could not be waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why a wait failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitError {
    /// Sentence.
    pub message: String,
}

/// Answer of top.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TopResponse {
    /// Rows.
    pub processes: Vec<Vec<String>>,
    /// Column titles.
    pub titles: Vec<String>,
}

/// Answer of container prune.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerPrune {
    /// Ids, `null` if none.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One row of `GET /containers/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Id.
    pub id: String,
    /// Names with a leading slash.
    pub names: Vec<String>,
    /// Image as shown.
    pub image: String,
    /// `sha256:…`.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The image's manifest (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<crate::image::Descriptor>,
    /// Command line.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Ports.
    pub ports: Vec<Port>,
    /// Bytes of the writable layer, if asked.
    #[serde(skip_serializing_if = "zero")]
    pub size_rw: i64,
    /// Bytes with the image, if asked.
    #[serde(skip_serializing_if = "zero")]
    pub size_root_fs: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `running`, …
    pub state: String,
    /// `Up 2 minutes`.
    pub status: String,
    /// Part of the host configuration.
    pub host_config: SummaryHostConfig,
    /// Networks.
    pub network_settings: SummaryNetworkSettings,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
}

/// Host configuration in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// Network mode.
    #[serde(skip_serializing_if = "zero")]
    pub network_mode: String,
    /// Annotations.
    #[serde(skip_serializing_if = "zero")]
    pub annotations: BTreeMap<String, String>,
}

/// Networks in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryNetworkSettings {
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A port in a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    /// Host address.
    #[serde(rename = "IP", skip_serializing_if = "zero")]
    pub ip: String,
    /// Port in the container.
    pub private_port: u16,
    /// Host port.
    #[serde(skip_serializing_if = "zero")]
    pub public_port: u16,
    /// `tcp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// A mount as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`, `image`.
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Volume name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Volume driver.
    #[serde(skip_serializing_if = "zero")]
    pub driver: String,
    /// Mode column.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation.
    pub propagation: String,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// Id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// Program.
    pub path: String,
    /// The other arguments.
    pub args: Vec<String>,
    /// State.
    pub state: ContainerState,
    /// `sha256:…`.
    pub image: String,
    /// Host path.
    pub resolv_conf_path: String,
    /// Host path.
    pub hostname_path: String,
    /// Host path.
    pub hosts_path: String,
    /// Host path.
    pub log_path: String,
    /// Name with a leading slash.
    pub name: String,
    /// Restarts by policy.
    pub restart_count: u32,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// SELinux.
    pub mount_label: String,
    /// SELinux.
    pub process_label: String,
    /// AppArmor profile.
    pub app_armor_profile: String,
    /// Running execs, `null` if none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Host configuration.
    pub host_config: HostConfig,
    /// Where its layers are.
    pub graph_driver: GraphDriver,
    /// Bytes of the writable layer, if asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes with the image, if asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
    /// Portable configuration.
    pub config: Config,
    /// Networks.
    pub network_settings: NetworkSettings,
    /// The image's manifest (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<crate::image::Descriptor>,
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub status: String,
    /// Runs (also when paused or restarting).
    pub running: bool,
    /// Is paused.
    pub paused: bool,
    /// Waits for its next start.
    pub restarting: bool,
    /// The OOM killer ended it.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Cannot be removed.
    pub dead: bool,
    /// Pid on the host.
    pub pid: u32,
    /// Exit code.
    pub exit_code: i32,
    /// Why the start failed.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// Health, if it has a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Health of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// Last results.
    pub log: Vec<HealthResult>,
}

/// Result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Exit code.
    pub exit_code: i32,
    /// Output.
    pub output: String,
}

/// Where layers are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Facts of the driver, `null` if none.
    pub data: Option<BTreeMap<String, String>>,
    /// Name.
    pub name: String,
}

/// Networks of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Older form.
    pub bridge: String,
    /// Sandbox id.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Path of the network namespace.
    pub sandbox_key: String,
    /// Exposed and published ports.
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Older form.
    pub hairpin_mode: bool,
    /// Older form.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Older form.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Older form.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Empty>>,
    /// Older form.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Empty>>,
    /// Of the default bridge, older form, as the rest.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Gateway.
    pub gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Hardware address.
    pub mac_address: String,
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_list_or_one_string() {
        let read: Config = crate::from_slice(br#"{"Cmd":"echo hi","Entrypoint":["sh","-c"],"Shell":null}"#).unwrap();
        assert_eq!(read.cmd, Some(StrSlice(vec!["echo hi".into()])));
        assert_eq!(read.entrypoint, Some(StrSlice(vec!["sh".into(), "-c".into()])));
        assert_eq!(read.shell, None);
    }

    #[test]
    fn config_and_extras_are_read_from_one_object() {
        let body = br#"{"Image":"busybox","hostconfig":{"BINDS":["/a:/b"],"Memory":4194304,"BlkioDeviceReadIOps":
            [{"Path":"/dev/sda","Rate":5}]},"NetworkingConfig":{"EndpointsConfig":{"default":null}}}"#;
        let extras: CreateExtras = crate::from_slice(body).unwrap();
        assert_eq!(extras.host_config.binds.as_deref(), Some(&["/a:/b".to_owned()][..]));
        assert_eq!(extras.host_config.blkio_device_read_iops.unwrap()[0].rate, 5);
        assert!(extras.networking_config.endpoints_config.contains_key("default"));
        assert_eq!(crate::from_slice::<Config>(body).unwrap().image, "busybox");
    }

    #[test]
    fn unset_lists_are_null_as_moby_prints_them() {
        let text = serde_json::to_string(&HostConfig::default()).unwrap();
        assert!(
            text.starts_with(r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"#),
            "{text}"
        );
        assert!(text.contains(r#""CapAdd":null"#) && !text.contains("Sysctls") && !text.contains(r#""Mounts""#));
    }
}

/// Body of a checkpoint's creation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckpointCreate {
    /// Its name.
    #[serde(rename = "CheckpointID")]
    pub checkpoint_id: String,
    /// Where to keep it; empty is the engine's own place.
    pub checkpoint_dir: String,
    /// Stop the container after it.
    pub exit: bool,
}
