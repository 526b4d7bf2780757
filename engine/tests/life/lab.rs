//! An engine on a root of its own, with an image made from `busybox-static`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::config::{CgroupDriver, EngineConfig, ImagesConfig, Limits, NetworkConfig, RuntimeConfig};
use engine::container::{AttachedIo, LogOptions, Phase, Stream, WaitCondition, WaitOutcome};
use engine::id::Owner;
use engine::spec::{
    ContainerSpec, DnsSpec, LogSpec, NamespaceMode, NetworkMode, ProcessSpec, Resources, RestartPolicy, SandboxChoice,
    SandboxSpec, SecuritySpec, UserNamespaceSpec,
};
use engine::{ContainerHandle, Engine};

/// Set in the process under `unshare`.
const INSIDE: &str = "GANTRY_TEST_INSIDE";
/// The name of the image.
pub(crate) const IMAGE: &str = "busybox:test";
/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` in a process of its own with its own mounts and network; `name` is the test's full name.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let filter = std::env::var("GANTRY_LOG").unwrap_or_else(|_| "warn".to_owned());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
            .with_writer(std::io::stderr)
            .init();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let lab = Lab::new(name);
        let (dir, cgroup) = (lab.dir.path().to_owned(), lab.cgroup.clone());
        let limited =
            async { tokio::time::timeout(Duration::from_secs(120), test(lab)).await.expect("the test hangs") };
        runtime.block_on(limited);
        runtime.shutdown_timeout(Duration::from_secs(1));
        assert_nothing_left(&dir, &cgroup);
        return;
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["-m", "-n", "-i", "-u", "--propagation", "private"])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare (util-linux) runs: this test needs it");
    assert!(status.success(), "{name} failed inside of its namespaces (it needs root, ip and nft)");
}

/// No process whose command line names the root, no cgroup, no mount.
fn assert_nothing_left(dir: &Path, cgroup: &str) {
    let name = dir.to_string_lossy().into_owned();
    let deadline = std::time::Instant::now() + Duration::from_secs(3);
    loop {
        let mut left = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&name) && line.contains("serve") {
                left.push(line);
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&name)).map(String::from));
        for controller in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = controller.path().join(cgroup.trim_start_matches('/'));
            let below = std::fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(below.filter(|e| e.path().is_dir()).map(|e| e.path().display().to_string()));
        }
        if left.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    for controller in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = std::fs::remove_dir(controller.path().join(cgroup.trim_start_matches('/')));
    }
}

/// A place for one engine.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    cgroup: String,
}

impl Lab {
    fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("life-").tempdir_in("/var/tmp").unwrap();
        let cgroup = format!("/gantry-life-{}-{}", std::process::id(), name.replace("::", "-"));
        Self { dir, cgroup }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> EngineConfig {
        EngineConfig {
            root: self.path("root"),
            run: self.path("run"),
            shim: testkit::daemon::program("containerd-shim-gantry-v1"),
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_parent: self.cgroup.clone(),
            default_runtime: "gantry".into(),
            runtimes: [("gantry".to_owned(), RuntimeConfig::Builtin)].into(),
            images: ImagesConfig::default(),
            network: NetworkConfig { cni_conf_dir: self.path("cni"), ..NetworkConfig::default() },
            limits: Limits { shim_call_ms_max: 10_000, ..Limits::default() },
        }
    }

    /// Opens an engine on the lab's root. One that was closed and dropped in this process holds the root until its last
    /// task has noticed; a daemon's ends with the process.
    pub(crate) async fn reopen(&self) -> Engine {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Engine::open(self.config()).await {
                Err(error) if error.to_string().contains("another daemon uses") => {
                    assert!(tokio::time::Instant::now() < deadline, "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Opens an engine and loads the image.
    pub(crate) async fn open(&self) -> Engine {
        let engine = self.reopen().await;
        let archive = testkit::image::sample::busybox().docker_archive(IMAGE);
        engine.images().load(std::io::Cursor::new(archive), Owner::Docker).await.unwrap();
        engine
    }
}

/// A docker container that runs `args` in the image.
pub(crate) fn spec(name: &str, args: &[&str]) -> ContainerSpec {
    ContainerSpec {
        owner: Owner::Docker,
        name: name.into(),
        image: IMAGE.into(),
        image_display: String::new(),
        platform: String::new(),
        labels: Default::default(),
        annotations: Default::default(),
        sandbox: SandboxChoice::Own(Box::new(sandbox(NetworkMode::None))),
        process: ProcessSpec {
            cmd: Some(args.iter().map(|arg| (*arg).to_owned()).collect()),
            groups_from_image: true,
            ..Default::default()
        },
        namespaces: Default::default(),
        mounts: Vec::new(),
        image_volumes: true,
        resources: Resources::default(),
        security: SecuritySpec::default(),
        devices: Vec::new(),
        exposed_ports: Vec::new(),
        cdi_devices: Vec::new(),
        device_cgroup_rules: Vec::new(),
        log: LogSpec::JsonFile { max_bytes: 0, max_files: 1, compress: false, attributes: Default::default() },
        init: false,
        restart: RestartPolicy::No,
        auto_remove: false,
        stop_signal: String::new(),
        stop_timeout_s: None,
        health: None,
        runtime: String::new(),
        attempt: 0,
        door_document: String::new(),
    }
}

pub(crate) fn sh(name: &str, script: &str) -> ContainerSpec {
    spec(name, &["sh", "-c", script])
}

pub(crate) fn sandbox(network: NetworkMode) -> SandboxSpec {
    SandboxSpec {
        owner: Owner::Docker,
        name: String::new(),
        pod: None,
        labels: Default::default(),
        annotations: Default::default(),
        hostname: String::new(),
        domainname: String::new(),
        network,
        ports: Vec::new(),
        dns: DnsSpec::default(),
        extra_hosts: Vec::new(),
        ipc: NamespaceMode::Private,
        pid: NamespaceMode::Private,
        uts: NamespaceMode::Private,
        user: UserNamespaceSpec::Host,
        sysctls: Default::default(),
        cgroup_parent: String::new(),
        log_directory: String::new(),
        runtime: String::new(),
        resources: Resources::default(),
        security: SecuritySpec::default(),
        shm_bytes: 0,
        door_document: String::new(),
    }
}

/// Creates and starts.
pub(crate) async fn run(engine: &Engine, spec: ContainerSpec) -> ContainerHandle {
    let container = engine.create_container(spec).await.unwrap().container;
    container.start().await.unwrap();
    container
}

pub(crate) async fn end_of(container: &ContainerHandle) -> WaitOutcome {
    tokio::time::timeout(PATIENCE, container.wait(WaitCondition::NotRunning)).await.expect("it does not end").unwrap()
}

/// All that was logged, both streams.
pub(crate) async fn log_of(container: &ContainerHandle) -> String {
    let options = LogOptions { stdout: true, stderr: true, ..Default::default() };
    let mut lines = container.logs(options).await.unwrap();
    let mut text = String::new();
    while let Some(line) = lines.recv().await {
        text.push_str(&String::from_utf8_lossy(&line.unwrap().data));
    }
    text
}

/// All output of an attached process, to its end.
pub(crate) async fn output_of(mut io: AttachedIo) -> (String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let reading = async {
        while let Some((stream, piece)) = io.output.recv().await {
            let text = String::from_utf8_lossy(&piece).into_owned();
            match stream {
                Stream::Stdout => stdout.push_str(&text),
                Stream::Stderr => stderr.push_str(&text),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the output does not end");
    (stdout, stderr)
}

/// Waits until the container's view is as wanted.
pub(crate) async fn until(container: &ContainerHandle, phase: Phase) {
    let mut views = container.watch();
    tokio::time::timeout(PATIENCE, views.wait_for(|view| view.phase == phase))
        .await
        .expect("it never comes so far")
        .unwrap();
}

/// Waits until `text` is in the log.
pub(crate) async fn logged(container: &ContainerHandle, text: &str) {
    let waiting = async {
        while !log_of(container).await.contains(text) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{text:?} is never logged"));
}
