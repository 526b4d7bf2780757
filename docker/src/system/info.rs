//! `GET /info`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use docker_api::container::LogConfig;
use docker_api::system::{Commit, IndexConfig, Info, Plugins, RegistryConfig, Runtime, Swarm};
use engine::config::{CgroupDriver, EngineConfig, RuntimeConfig};
use engine::container::Phase;
use engine::id::Owner;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::system::version::VERSION;
use crate::time;
use crate::to_spec::log;
use crate::view::container::STORAGE_DRIVER;

pub(crate) async fn info(call: Call) -> Outcome {
    let engine = call.engine();
    let (facts, config) = (engine.info(), engine.config());
    // As many as `docker ps --all` shows.
    let mut containers = engine.containers();
    containers.retain(|view| view.spec.owner == Owner::Docker);
    let count = |wanted: &dyn Fn(Phase) -> bool| containers.iter().filter(|view| wanted(view.phase)).count();
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let running = count(&|phase| matches!(phase, Phase::Running | Phase::Restarting));
    let paused = count(&|phase| phase == Phase::Paused);
    reply::ok(&Info {
        id: facts.daemon_id,
        containers: containers.len(),
        containers_running: running,
        containers_paused: paused,
        containers_stopped: containers.len() - running - paused,
        images: engine.images().list().len(),
        driver: STORAGE_DRIVER.into(),
        driver_status: vec![("Backing root".into(), config.root.display().to_string())],
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&log::DRIVERS),
        },
        memory_limit: true,
        swap_limit: true,
        kernel_memory_tcp: facts.cgroup_version == 1,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: true,
        oom_kill_disable: facts.cgroup_version == 1,
        n_fd: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        n_goroutines: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        system_time: time::rfc3339(time::now_ns()),
        logging_driver: log::merged(&LogConfig::default(), &call.door.settings.default_log).kind,
        cgroup_driver: match config.cgroup_driver {
            CgroupDriver::Cgroupfs => "cgroupfs".into(),
            CgroupDriver::Systemd => "systemd".into(),
        },
        cgroup_version: facts.cgroup_version.to_string(),
        n_events_listener: call.door.event_followers.load(Ordering::Relaxed),
        kernel_version: facts.kernel,
        operating_system: facts.operating_system,
        os_type: "linux".into(),
        architecture: facts.architecture,
        index_server_address: "https://index.docker.io/v1/".into(),
        registry_config: registries(config),
        n_cpu: facts.cpus,
        mem_total: facts.memory_bytes,
        docker_root_dir: config.root.display().to_string(),
        name: facts.hostname,
        server_version: VERSION.into(),
        runtimes: runtimes(config),
        default_runtime: config.default_runtime.clone(),
        swarm: Swarm { local_node_state: "inactive".into(), ..Swarm::default() },
        live_restore_enabled: true,
        init_binary: "containerd-shim-gantry-v1".into(),
        containerd_commit: Commit::default(),
        runc_commit: Commit::default(),
        init_commit: Commit { id: VERSION.into() },
        security_options: words(&["name=seccomp,profile=builtin"]),
        warnings: (!facts.warnings.is_empty()).then_some(facts.warnings),
        ..Info::default()
    })
}

fn registries(config: &EngineConfig) -> RegistryConfig {
    let images = &config.images;
    let insecure = |name: &String| {
        let entry = IndexConfig { name: name.clone(), mirrors: Vec::new(), secure: false, official: false };
        (name.clone(), entry)
    };
    let mut index_configs: BTreeMap<String, IndexConfig> = images.insecure_registries.iter().map(insecure).collect();
    let official = IndexConfig {
        name: "docker.io".into(),
        mirrors: images.registry_mirrors.clone(),
        secure: true,
        official: true,
    };
    index_configs.insert("docker.io".into(), official);
    RegistryConfig {
        insecure_registry_cidrs: vec!["::1/128".into(), "127.0.0.0/8".into()],
        index_configs,
        mirrors: (!images.registry_mirrors.is_empty()).then(|| images.registry_mirrors.clone()),
    }
}

fn runtimes(config: &EngineConfig) -> BTreeMap<String, Runtime> {
    let one = |runtime: &RuntimeConfig| match runtime {
        RuntimeConfig::Builtin => Runtime { path: config.shim.display().to_string(), ..Runtime::default() },
        RuntimeConfig::Oci { path } => Runtime { path: path.display().to_string(), ..Runtime::default() },
        RuntimeConfig::Shim { path, .. } => Runtime { runtime_type: path.display().to_string(), ..Runtime::default() },
    };
    config.runtimes.iter().map(|(name, runtime)| (name.clone(), one(runtime))).collect()
}
