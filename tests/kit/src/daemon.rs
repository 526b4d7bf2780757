//! The engine under test as a process: ours, or Debian's dockerd as the reference that a scenario is proven on first.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::wait;
use crate::world::{World, only_child};

/// Chooses the engine: `gantry` (default) or `dockerd`.
pub const ENGINE_VARIABLE: &str = "GANTRY_E2E_ENGINE";
/// Chooses the folder with our programs; the default is the folder that cargo built this test into.
pub const PROGRAMS_VARIABLE: &str = "GANTRY_E2E_PROGRAMS";

/// Which engine a world runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// `gantryd` of this work tree.
    Gantry,
    /// Debian's dockerd.
    Dockerd,
}

impl EngineKind {
    /// Reads [`ENGINE_VARIABLE`].
    ///
    /// # Panics
    /// On an unknown name.
    pub fn from_environment() -> Self {
        match std::env::var(ENGINE_VARIABLE).as_deref() {
            Err(_) | Ok("" | "gantry") => Self::Gantry,
            Ok("dockerd") => Self::Dockerd,
            Ok(other) => panic!("{ENGINE_VARIABLE}={other}: gantry or dockerd"),
        }
    }
}

/// The path of one of our programs, as cargo built it beside this test.
///
/// # Panics
/// When it is not there: `cargo build --workspace` makes it.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os(PROGRAMS_VARIABLE).map_or_else(
        || {
            let test = std::env::current_exe().expect("this test's path");
            // target/debug/deps/e2e-1234 -> target/debug
            test.ancestors().nth(2).expect("target folder").to_path_buf()
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// nsenter, whose child the daemon is.
    outer: Child,
    pid: i32,
    log: PathBuf,
}

impl Daemon {
    /// Starts the engine of `world` and waits until its Docker door answers.
    #[track_caller]
    pub(crate) fn start(world: &World, environment: &[(&str, &str)]) -> Self {
        let log = world.dir().join("daemon.log");
        let mut command = match world.kind() {
            EngineKind::Gantry => gantry_command(world),
            EngineKind::Dockerd => dockerd_command(world),
        };
        let sink = File::options().create(true).append(true).open(&log).expect("the daemon's log");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(sink.try_clone().expect("dup")).stderr(sink);
        let mut outer = command.spawn().expect("nsenter");
        let socket = world.docker_socket();
        wait::until("the daemon's socket to answer", Duration::from_secs(30), || {
            if let Some(status) = outer.try_wait().expect("wait") {
                panic!("the daemon ended at its start with {status}:\n{}", tail(&log));
            }
            UnixStream::connect(&socket).is_ok_and(|_| crate::http::ping(&socket)).then_some(())
        });
        let pid = only_child(outer.id()).expect("the daemon's pid");
        Self { outer, pid, log }
    }

    /// Its pid, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has ended, by itself or not.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.outer.try_wait().expect("wait").is_some()
    }

    /// Everything it logged so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        // One that has ended has no number any more.
        if !self.has_ended() {
            signal(self.pid, rustix::process::Signal::KILL);
        }
        let _ = self.outer.wait();
    }

    /// SIGTERM, and waits until it is gone.
    #[track_caller]
    pub(crate) fn terminate(mut self) {
        signal(self.pid, rustix::process::Signal::TERM);
        let outer = &mut self.outer;
        wait::until("the daemon to end after SIGTERM", Duration::from_secs(20), || outer.try_wait().ok().flatten());
    }

    /// Shows the end of its log with a failing test.
    pub(crate) fn print_log_tail(&self) {
        eprintln!("--- end of the daemon's log\n{}---", tail(&self.log));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("signal the daemon");
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n") + "\n"
}

/// Our configuration, with every root, socket and name of the world's own.
pub fn gantry_config(world: &World) -> String {
    format!(
        "root = {root:?}\nrun = {run:?}\ncgroup_parent = {cgroup:?}\nshim = {shim:?}\n\
         [docker]\nlisten = [\"unix://{docker}\"]\n[cri]\nlisten = \"unix://{cri}\"\n\
         [network]\ncni_conf_dir = {cni:?}\n",
        root = world.root(),
        run = world.run_dir(),
        cgroup = world.cgroup(),
        shim = program("containerd-shim-gantry-v1"),
        docker = world.docker_socket().display(),
        cri = world.cri_socket().display(),
        cni = world.dir().join("cni"),
    )
}

fn gantry_command(world: &World) -> Command {
    let config = world.dir().join("gantryd.toml");
    if !config.exists() {
        fs::write(&config, gantry_config(world)).expect("configuration");
    }
    let mut command = world.enter(program("gantryd"));
    command.arg("--config").arg(config);
    command.env("GANTRY_LOG", std::env::var("GANTRY_E2E_LOG").unwrap_or_else(|_| "info".into()));
    command
}

fn dockerd_command(world: &World) -> Command {
    let config = world.dir().join("daemon.json");
    fs::write(&config, "{}").expect("configuration");
    let mut command = world.enter("dockerd");
    command.arg("--config-file").arg(config);
    command.arg("--data-root").arg(world.root());
    command.args(["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid", "--storage-driver", "overlay2"]);
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", world.cgroup()]);
    command.arg("-H").arg(format!("unix://{}", world.docker_socket().display()));
    command
}
