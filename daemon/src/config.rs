//! The configuration file: TOML, every option with its default and its explanation in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::config::{CgroupDriver, EngineConfig, ImagesConfig, Limits, NetworkConfig, RuntimeConfig};
use serde::{Deserialize, Serialize};

/// Where the configuration is looked for when none is named.
const DEFAULT_PATH: &str = "/etc/gantry/gantryd.toml";
/// A configuration file larger than this is refused.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) root: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) shim: PathBuf,
    pub(crate) cgroup_driver: CgroupDriver,
    pub(crate) cgroup_parent: String,
    pub(crate) default_runtime: String,
    pub(crate) worker_threads: usize,
    pub(crate) blocking_threads_max: usize,
    pub(crate) log: LogConfig,
    pub(crate) docker: DockerConfig,
    pub(crate) cri: CriConfig,
    pub(crate) images: ImagesConfig,
    pub(crate) network: NetworkConfig,
    pub(crate) limits: Limits,
    pub(crate) runtimes: BTreeMap<String, RuntimeConfig>,
}

/// Logs of the daemon itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The Docker door.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DockerConfig {
    pub(crate) listen: Vec<String>,
    pub(crate) group: String,
    pub(crate) tls_ca: PathBuf,
    pub(crate) tls_cert: PathBuf,
    pub(crate) tls_key: PathBuf,
    pub(crate) log_driver: String,
    pub(crate) log_opts: BTreeMap<String, String>,
}

/// The CRI door.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CriConfig {
    pub(crate) listen: String,
    pub(crate) streaming_listen: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/gantry".into(),
            run: "/run/gantry".into(),
            shim: PathBuf::new(),
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_parent: "/gantry".into(),
            default_runtime: "gantry".into(),
            worker_threads: 0,
            blocking_threads_max: 64,
            log: LogConfig::default(),
            docker: DockerConfig::default(),
            cri: CriConfig::default(),
            images: ImagesConfig::default(),
            network: NetworkConfig::default(),
            limits: Limits::default(),
            runtimes: [
                ("gantry".to_owned(), RuntimeConfig::Builtin),
                ("runc".to_owned(), RuntimeConfig::Oci { path: "runc".into() }),
                ("crun".to_owned(), RuntimeConfig::Oci { path: "crun".into() }),
            ]
            .into(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            listen: vec!["unix:///run/gantry/gantry.sock".into()],
            group: String::new(),
            tls_ca: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            log_driver: "json-file".into(),
            log_opts: BTreeMap::new(),
        }
    }
}

impl DockerConfig {
    /// What the door needs of it beside its sockets.
    pub(crate) fn settings(&self) -> Result<docker::Settings, String> {
        let mut settings = docker::Settings::default();
        settings
            .log_by_default(&self.log_driver, &self.log_opts)
            .map_err(|e| format!("docker.log_driver {:?} with docker.log_opts: {e}", self.log_driver))?;
        Ok(settings)
    }
}

impl Default for CriConfig {
    fn default() -> Self {
        Self { listen: "unix:///run/gantry/cri.sock".into(), streaming_listen: "127.0.0.1:0".into() }
    }
}

/// What each option is for; `--print-config` puts it above the option.
const EXPLANATIONS: &[(&str, &str)] = &[
    ("root", "Durable state: database, images, writable layers, volumes, container logs. Mode 0700."),
    (
        "run",
        "Bundles, sockets and exit records: lost at reboot, rightly. Mode 0700. Keep it short: socket paths have 107 bytes at most.",
    ),
    ("shim", "The shim binary. Empty: containerd-shim-gantry-v1 beside gantryd, else on PATH."),
    ("cgroup_driver", "Who makes cgroups: \"cgroupfs\" or \"systemd\". The kubelet asks for it (RuntimeConfig)."),
    (
        "cgroup_parent",
        "Parent of the cgroups of containers and pods that name none: a path (cgroupfs) or a slice (systemd).",
    ),
    ("default_runtime", "Runtime handler when none is asked for: a key of [runtimes]."),
    ("worker_threads", "Threads of the daemon. 0: one for each CPU, 4 at most."),
    ("blocking_threads_max", "Threads at most for unpacking and other work that blocks."),
    (
        "log.level",
        "error, warn, info, debug or trace; or a filter such as \"info,engine=debug\". GANTRY_LOG goes before it.",
    ),
    ("log.format", "\"text\" or \"json\"."),
    (
        "docker.listen",
        "Docker Engine REST API: unix://PATH, tcp://HOST:PORT (needs the three tls_ files), fd:// (socket activation). Empty: closed.",
    ),
    ("docker.group", "Group that may use the unix socket (mode 0660). Empty: root only (0600)."),
    ("docker.tls_ca", "CA that client certificates must be signed by (PEM). TCP without mutual TLS is refused."),
    ("docker.tls_cert", "Certificate of this daemon (PEM)."),
    ("docker.tls_key", "Its key (PEM)."),
    (
        "docker.log_driver",
        "Logging of containers that ask for none (docker run --log-driver): json-file, local, syslog, journald or none.",
    ),
    ("docker.log_opts", "Its options, such as max-size. They hold for containers with this driver."),
    ("cri.listen", "Kubernetes CRI runtime.v1: unix://PATH or fd:// (socket activation, name \"cri\"). Empty: closed."),
    (
        "cri.streaming_listen",
        "ADDRESS:PORT where the kubelet connects for exec, attach and port-forward; port 0: any. Plain HTTP: keep it on loopback. Empty: closed.",
    ),
    ("images.hosts_dir", "Directory with <registry>/hosts.toml, as containerd has it."),
    ("images.registry_mirrors", "Mirrors of docker.io (URLs), tried before it."),
    (
        "images.insecure_registries",
        "Registries (host[:port]) that may be spoken to over plain HTTP or with an unknown certificate. Loopback always may.",
    ),
    ("images.downloads_max", "Layers downloaded at once, over all pulls."),
    ("images.unpacks_max", "Layers unpacked at once, over all pulls."),
    ("images.embedded_image", "An image archive that is loaded at the first start. Empty: none."),
    ("network.bridge_name", "Interface of the default bridge network."),
    ("network.bridge_subnet", "Its subnet, such as \"10.88.0.0/16\". Empty: the first free one of pools."),
    (
        "network.pools",
        "BASE/PREFIX/SIZE: networks without a subnet of their own take /SIZE pieces of BASE/PREFIX that no route of the host uses.",
    ),
    ("network.table", "Name of the one nftables table (family inet) that is ours. Several daemons need several names."),
    (
        "network.table_owner",
        "The kernel refuses other programs' changes of our table where it can (6.9); else it is put back after them.",
    ),
    ("network.mtu", "Maximum transmission unit of networks in bytes. 0: the kernel's default."),
    (
        "network.proxy_sessions_max",
        "Connections that the daemon itself carries at once for published ports that no rule can serve (::1).",
    ),
    ("network.ports_per_container_max", "Published ports that one container may ask for."),
    ("network.netns_pool", "Prepared network namespaces kept at hand."),
    (
        "network.pod_network",
        "Where pods get their network: \"auto\" (CNI when it is configured, else the built-in bridge), \"cni\" (for nodes whose plugin the cluster installs: not ready until then) or \"builtin\".",
    ),
    (
        "network.cni_conf_dir",
        "CNI configuration for pods: the lexically first .conf, .conflist or .json file counts. Changes are seen at once.",
    ),
    ("network.cni_bin_dirs", "CNI plugins, searched in order."),
    ("network.cni_timeout_ms", "Milliseconds that one call of one CNI plugin may last; then it is killed."),
    ("limits.shim_start_ms_max", "Milliseconds for a shim to answer its first call."),
    ("limits.shim_call_ms_max", "Milliseconds for any other call to a shim."),
    ("limits.mailbox_len_max", "Calls that wait for one container or sandbox."),
    ("limits.events_kept_max", "Events kept for replay (docker events --since, CRI GetContainerEvents)."),
    ("limits.exec_sync_bytes_max", "Bytes of each output stream that CRI ExecSync keeps."),
    ("limits.exec_kept_ms", "Milliseconds that the record of an exec is kept after its end."),
    ("limits.stop_grace_ms_max", "Milliseconds that a stop may wait before it kills, at most."),
    ("limits.build_cache_bytes_max", "Bytes of results of build steps that are kept; those used longest ago go first."),
    (
        "runtimes",
        "Runtime handlers (docker --runtime, Kubernetes RuntimeClass): kind \"builtin\", \"oci\" (path of runc, crun, …, or a name that PATH has) or \"shim\" (path of a containerd shim v2 binary). What is here adds to the defaults.",
    ),
];

impl Config {
    /// Reads `path`, or the default place, or gives the defaults.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, String> {
        let (path, must_exist) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_PATH), false),
        };
        let text = match std::fs::metadata(path) {
            Ok(meta) if meta.len() > FILE_BYTES_MAX => {
                return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
            }
            Ok(_) => std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => String::new(),
            Err(error) => return Err(format!("read {}: {error}", path.display())),
        };
        let config = Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        // A handler that the file adds does not take away the others.
        for (name, runtime) in Self::default().runtimes {
            config.runtimes.entry(name).or_insert(runtime);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (field, path) in [("root", &self.root), ("run", &self.run)] {
            if !path.is_absolute() {
                return Err(format!("{field}: {} is not an absolute path", path.display()));
            }
        }
        if !self.runtimes.contains_key(&self.default_runtime) {
            return Err(format!("default_runtime: no handler {:?} under [runtimes]", self.default_runtime));
        }
        self.docker.settings()?;
        let tls = [&self.docker.tls_ca, &self.docker.tls_cert, &self.docker.tls_key];
        for address in &self.docker.listen {
            let known = ["unix://", "tcp://", "fd://"].iter().any(|scheme| address.starts_with(scheme));
            if !known {
                return Err(format!("docker.listen: {address:?} begins with none of unix://, tcp://, fd://"));
            }
            if address.starts_with("tcp://") && tls.iter().any(|path| path.as_os_str().is_empty()) {
                return Err(format!(
                    "docker.listen: {address:?} needs tls_ca, tls_cert and tls_key: TCP without mutual TLS would give root to everyone"
                ));
            }
        }
        if self.network.table.is_empty() || !self.network.table.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(format!("network.table: {:?} is not a plain name", self.network.table));
        }
        let interface = self.network.bridge_name.as_str();
        if interface.is_empty() || interface.len() > 15 || interface.contains(['/', ' ']) {
            return Err(format!(
                "network.bridge_name: {interface:?} is not the name of an interface (15 bytes at most)"
            ));
        }
        Ok(())
    }

    /// Threads in force.
    pub(crate) fn worker_threads(&self) -> usize {
        if self.worker_threads > 0 {
            return self.worker_threads;
        }
        std::thread::available_parallelism().map_or(2, usize::from).min(4)
    }

    /// The configuration as TOML with its explanations.
    pub(crate) fn explained(&self) -> String {
        let plain = toml::to_string_pretty(self).unwrap_or_default();
        let mut section = String::new();
        let mut text = String::from("# Configuration of gantryd. Every option is shown with the value in force.\n");
        for line in plain.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = format!("{name}.");
                explain(&mut text, name);
            } else if let Some((key, _)) = line.split_once(" = ") {
                explain(&mut text, &format!("{section}{key}"));
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// What the engine needs of it.
    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            root: self.root.clone(),
            run: self.run.clone(),
            shim: self.shim_path(),
            cgroup_driver: self.cgroup_driver,
            cgroup_parent: self.cgroup_parent.clone(),
            default_runtime: self.default_runtime.clone(),
            runtimes: self.runtimes.clone(),
            images: self.images.clone(),
            network: self.network.clone(),
            limits: self.limits.clone(),
        }
    }

    fn shim_path(&self) -> PathBuf {
        const NAME: &str = "containerd-shim-gantry-v1";
        if !self.shim.as_os_str().is_empty() {
            return self.shim.clone();
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
        let on_path = std::env::var_os("PATH")
            .into_iter()
            .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
            .map(|dir| dir.join(NAME));
        beside
            .into_iter()
            .chain(on_path)
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from("/usr/bin").join(NAME))
    }
}

fn explain(text: &mut String, key: &str) {
    let wanted = if key.starts_with("runtimes.") { "" } else { key };
    if let Some((_, explanation)) = EXPLANATIONS.iter().find(|(known, _)| *known == wanted) {
        text.push_str("# ");
        text.push_str(explanation);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back_and_explains_every_option() {
        let printed = Config::default().explained();
        let read = Config::parse(&printed).unwrap();
        assert_eq!(read.explained(), printed);
        let mut section = String::new();
        let lines: Vec<&str> = printed.lines().collect();
        for pair in lines.windows(2) {
            if let Some(name) = pair[1].strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            } else if let Some((key, _)) = pair[1].split_once(" = ")
                && !section.starts_with("runtimes")
            {
                assert!(pair[0].starts_with("# "), "{section}.{key} is not explained");
            }
        }
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (text, word) in [
            ("roots = '/x'", "roots"),
            ("root = 'relative'", "root"),
            ("default_runtime = 'kata'", "kata"),
            ("docker.listen = ['tcp://0.0.0.0:2375']", "mutual TLS"),
            ("docker.listen = ['http://x']", "docker.listen"),
            ("docker.log_driver = 'fluentd'", "fluentd"),
            ("docker.log_opts = { tag = '{{' }", "docker.log_opts"),
            ("network.table = 'a b'", "network.table"),
            ("network.bridge_name = 'much-too-long-name'", "network.bridge_name"),
            ("limits.mailbox_len_max = 'many'", "mailbox_len_max"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
