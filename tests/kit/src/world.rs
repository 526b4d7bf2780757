//! An isolated world for one test: its own mount, network, UTS, IPC and PID namespaces, cgroup parent and data root.
//! Nothing in it reaches the host, and when it is dropped everything in it dies with its first process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::census::Census;
use crate::command::{Run, run_with};
use crate::daemon::{Daemon, EngineKind};
use crate::registry::Registry;
use crate::wait;

/// What the first process of a world does: a shell reaps what is orphaned, as an init must.
const INIT: &str = "\
exec 2>&1
set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/mount
ip link set lo up
hostname gantry-test
echo ready
sleep infinity
exit 1
";

/// A world, with what was started in it.
#[derive(Debug)]
pub struct World {
    holder: Child,
    init: i32,
    dir: TempDir,
    cgroup: String,
    kind: EngineKind,
    daemon: Option<Daemon>,
    registry: Option<Registry>,
    private_registry: Option<Registry>,
}

impl World {
    /// Makes the namespaces, the cgroup parent and the data root; starts nothing in them.
    ///
    /// # Panics
    /// Without root, or when a namespace cannot be made.
    #[track_caller]
    pub fn bare() -> Self {
        Self::bare_with(EngineKind::from_environment())
    }

    /// The same for a chosen engine.
    #[track_caller]
    pub fn bare_with(kind: EngineKind) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces and cgroups: run it as root");
        let dir = tempfile::Builder::new().prefix("gt-").tempdir_in("/var/tmp").expect("a directory under /var/tmp");
        let name = dir.path().file_name().expect("name").to_string_lossy().into_owned();
        let mut holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc", "--propagation", "private", "sh", "-c", INIT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // unshare of util-linux 2.38 complains about a harmless sigprocmask here.
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare (util-linux) starts");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("stdout")).read_line(&mut said).expect("the world's init");
        assert_eq!(said.trim(), "ready", "the world's namespaces could not be set up");
        let init = wait::until("the world's init", Duration::from_secs(5), || only_child(holder.id()));
        wait::until("the world's init to wait", Duration::from_secs(5), || only_child(init.unsigned_abs()));
        let cgroup = format!("/gantry-test-{}", name.trim_start_matches("gt-").to_lowercase());
        Self { holder, init, dir, cgroup, kind, daemon: None, registry: None, private_registry: None }
    }

    /// A world with the engine under test running in it.
    #[track_caller]
    pub fn start() -> Self {
        let mut world = Self::bare();
        world.start_daemon();
        world
    }

    /// A world with our engine; for what only it can do. Fails when another engine was chosen to be tested.
    #[track_caller]
    pub fn gantry_only() -> Self {
        let world = Self::start();
        assert_eq!(world.kind, EngineKind::Gantry, "this scenario is about gantry; do not run it on a reference");
        world
    }

    /// Starts the engine (again) on the same state and waits until it answers.
    #[track_caller]
    pub fn start_daemon(&mut self) {
        self.start_daemon_with(&[]);
    }

    /// As [`World::start_daemon`], with more in its environment.
    #[track_caller]
    pub fn start_daemon_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.daemon.is_none(), "the daemon is running");
        self.daemon = Some(Daemon::start(self, environment));
    }

    /// Whether the daemon that was started has ended by itself.
    #[track_caller]
    pub fn daemon_has_ended(&mut self) -> bool {
        self.daemon.as_mut().expect("the daemon was started").has_ended()
    }

    /// The running engine.
    #[track_caller]
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon is running")
    }

    /// The daemon's pid, when it runs.
    pub(crate) fn daemon_pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// `kill -9` of the engine's daemon, and of it alone.
    #[track_caller]
    pub fn kill_daemon(&mut self) {
        self.daemon.take().expect("the daemon is running").kill();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop_daemon(&mut self) {
        self.daemon.take().expect("the daemon is running").terminate();
    }

    /// Which engine runs here.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// The registry on 127.0.0.1:5000 of this world, started when first asked for.
    pub fn registry(&mut self) -> &Registry {
        if self.registry.is_none() {
            self.registry = Some(Registry::start(self));
        }
        self.registry.as_ref().expect("started above")
    }

    /// The registry on 127.0.0.1:5001 that asks for credentials, started when first asked for.
    pub fn private_registry(&mut self) -> &Registry {
        if self.private_registry.is_none() {
            self.private_registry = Some(Registry::start_private(self));
        }
        self.private_registry.as_ref().expect("started above")
    }

    /// Stops the registry.
    pub fn stop_registry(&mut self) {
        self.registry = None;
    }

    /// The pid of the world's first process, as the host sees it: its namespaces are the world's.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// A directory of the test's own, on disk, at the same path inside and outside.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The engine's data root.
    pub fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// The engine's run directory, on the world's own tmpfs.
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/gantry")
    }

    /// The cgroup under which the engine puts its containers.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The Docker door's socket.
    pub fn docker_socket(&self) -> PathBuf {
        self.dir().join("docker.sock")
    }

    /// The CRI door's socket.
    pub fn cri_socket(&self) -> PathBuf {
        self.dir().join("cri.sock")
    }

    /// `program` to be run inside the world.
    pub fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-m", "-n", "-u", "-i", "-p", "--"]);
        command.arg(program);
        command
    }

    /// A TCP connection made inside the world.
    ///
    /// # Panics
    /// When nothing listens there.
    #[track_caller]
    pub fn connect(&self, address: std::net::SocketAddr) -> std::net::TcpStream {
        let connected = self.in_network(move || std::net::TcpStream::connect(address));
        connected.unwrap_or_else(|error| panic!("connect {address}: {error}"))
    }

    /// Does `work` in the world's network: the sockets that it makes are there.
    ///
    /// # Panics
    /// When `work` does.
    #[track_caller]
    pub fn in_network<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = fs::File::open(format!("/proc/{}/ns/net", self.init)).expect("the world's network namespace");
        let working = std::thread::spawn(move || {
            // A thread of its own, which ends: nobody else may be handed one that is in the world.
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(netns.as_fd(), Some(kind)).expect("enter the world's network");
            work()
        });
        working.join().expect("the thread in the world")
    }

    /// Runs a shell script inside the world and returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let mut command = self.enter("sh");
        command.args(["-ec", script]);
        run_with(command, b"").ok()
    }

    /// A second machine on the world's network, at [`Outside::ADDRESS`]; the world is [`Outside::GATEWAY`] to it.
    /// It knows no route to any container, so that only translated addresses come back.
    #[track_caller]
    pub fn outside(&self) -> Outside<'_> {
        let script = format!(
            "unshare --net sleep infinity </dev/null >/dev/null 2>&1 &
             p=$!
             until [ \"$(readlink /proc/$p/ns/net)\" != \"$(readlink /proc/$$/ns/net)\" ]; do sleep 0.01; done
             ip link add outside0 type veth peer name eth0 netns $p
             ip addr add {}/24 dev outside0
             ip link set outside0 up
             nsenter -t $p -n sh -ec 'ip link set lo up; ip addr add {}/24 dev eth0; ip link set eth0 up'
             echo $p",
            Outside::GATEWAY,
            Outside::ADDRESS
        );
        Outside { world: self, pid: self.sh(&script) }
    }

    /// A client by name, pointed at this world's engine and isolated from the user's configuration.
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", format!("unix://{}", self.docker_socket().display()));
        command.env("DOCKER_CONFIG", self.dir().join("docker-config"));
        command.env("HOME", self.dir());
        command.env("TZ", "UTC");
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
        command
    }

    /// Runs the unmodified docker CLI.
    #[track_caller]
    pub fn docker<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let mut command = self.client("docker");
        command.args(args);
        run_with(command, b"")
    }

    /// Runs `gantry`.
    #[track_caller]
    pub fn gantry<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let mut command = self.client(crate::daemon::program("gantry"));
        command.args(args);
        run_with(command, b"")
    }

    /// What exists now in this world and in the host's tables, once it stands still: a daemon that has just begun still
    /// fills its pool of network namespaces, and what it holds then is more than a moment before.
    pub fn census(&self) -> Census {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut last = Census::take(self);
        loop {
            std::thread::sleep(Duration::from_millis(60));
            let now = Census::take(self);
            if now == last || std::time::Instant::now() > deadline {
                return now;
            }
            last = now;
        }
    }

    /// Waits until the census equals `before`; fails with the difference when it does not settle.
    #[track_caller]
    pub fn assert_nothing_left(&self, before: &Census) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let difference = match self.kind {
                EngineKind::Gantry => before.difference(&Census::take(self)),
                EngineKind::Dockerd => before.of_the_kernel().difference(&Census::take(self).of_the_kernel()),
            };
            if difference.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "not as it was before:\n{difference}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The pids (of the host) of every process in the world but its init.
    pub fn processes(&self) -> Vec<i32> {
        let ours = fs::read_link(format!("/proc/{}/ns/pid", self.init)).expect("the world's pid namespace");
        let pids = fs::read_dir("/proc").expect("/proc").filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        let inside = |pid: &i32| is_inside(*pid, &ours);
        pids.filter(|pid| *pid != self.init).filter(inside).collect()
    }
}

/// A network namespace that stands for another machine. It goes with the world.
#[derive(Debug)]
pub struct Outside<'w> {
    world: &'w World,
    pid: String,
}

impl Outside<'_> {
    /// Its address (TEST-NET-3).
    pub const ADDRESS: &'static str = "203.0.113.2";
    /// The world's address on that network.
    pub const GATEWAY: &'static str = "203.0.113.1";

    /// Runs a shell script there and returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let mut command = self.world.enter("nsenter");
        command.args(["-t", &self.pid, "-n", "--", "sh", "-ec", script]);
        run_with(command, b"").ok()
    }
}

/// Whether a process is in a pid namespace or (containers) in a child of it.
fn is_inside(pid: i32, namespace: &Path) -> bool {
    let mut current = pid;
    // A container's own pid namespace is a child: its parent process is in ours.
    for _ in 0..64 {
        match fs::read_link(format!("/proc/{current}/ns/pid")) {
            Ok(found) if found == namespace => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        match parent_of(current) {
            Some(parent) if parent > 1 => current = parent,
            _ => return false,
        }
    }
    false
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The only child of a process that has one.
pub(crate) fn only_child(pid: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Every directory of the host's cgroup hierarchies that has this name at its top, deepest first.
pub(crate) fn cgroup_directories(cgroup: &str) -> Vec<PathBuf> {
    let top = cgroup.trim_start_matches('/');
    let mut found = Vec::new();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
        collect_directories(&hierarchy.join(top), &mut found);
    }
    found.sort();
    found.dedup();
    found.reverse();
    found
}

fn collect_directories(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    found.push(dir.to_path_buf());
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_directories(&entry.path(), found);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(daemon) = &self.daemon
        {
            daemon.print_log_tail();
        }
        // The kernel kills every process of the pid namespace with its first one.
        if let Some(init) = rustix::process::Pid::from_raw(self.init) {
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
        let _ = self.holder.wait();
        self.daemon = None;
        self.registry = None;
        self.private_registry = None;
        for _ in 0..50 {
            let left = cgroup_directories(&self.cgroup);
            if left.is_empty() {
                break;
            }
            for dir in left {
                let _ = fs::remove_dir(dir);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
