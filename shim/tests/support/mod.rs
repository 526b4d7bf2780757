//! What the tests of the shim share: a bundle made from `busybox`, and a shim in a mount namespace of its own.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test program uses a part of it"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use shim_api::bundle::{ContainerBundle, ShimBundle};
use shim_api::options::{self, ExecOptions, TaskOptions};
use shim_api::proto::task::v3 as wire;
use shim_api::task::{TaskClient, TaskVersion};
use shim_api::ttrpc::{Client, Error};
use sys::pidfd::PidFd;
use sys::spawn::Program;

/// For every call; a loaded machine is slow.
pub const TIMEOUT: Duration = Duration::from_secs(60);

const APPLETS: &[&str] = &[
    "sh", "true", "false", "cat", "echo", "env", "grep", "head", "hostname", "id", "kill", "ls", "mkdir", "mount",
    "printf", "ps", "pwd", "readlink", "seq", "sleep", "stat", "stty", "touch", "tty", "umask", "wc", "yes", "dd",
];

/// A shim, its folder, and a root file system for its containers.
pub struct World {
    pub folder: tempfile::TempDir,
    pub bundle: ShimBundle,
    pub client: TaskClient,
    pub connection: Client,
    pub pid: i32,
    process: PidFd,
    cgroup: String,
}

/// A root file system with busybox.
pub fn make_rootfs(at: &Path) {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", at.join("bin/busybox")).expect("busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", at.join("bin").join(applet)).unwrap();
    }
    std::fs::write(at.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        .unwrap();
}

/// A spec such as the engine writes.
pub fn spec(args: &[&str], cgroup: &str) -> Value {
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "crane",
        "process": {
            "args": args, "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin:/usr/bin", "GREETING=hello"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

impl World {
    /// Launches a shim as the engine does, but in a mount namespace of its own.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
        let bundle = ShimBundle::new(folder.path(), "box");
        std::fs::create_dir_all(bundle.folder()).unwrap();
        make_rootfs(&folder.path().join("rootfs"));
        let pid = launch(&bundle).unwrap();
        let process = PidFd::open(pid).unwrap();
        let connection = Client::connect(&bundle.socket()).await.unwrap();
        let client = TaskClient::new(connection.clone(), TaskVersion::V3, TIMEOUT);
        // The first answer says that the shim is up, behind its own mount namespace.
        client.connect(&wire::ConnectRequest::default()).await.unwrap();
        let cgroup = format!("gantry-shim-test.{name}");
        Self { folder, bundle, client, connection, pid, process, cgroup }
    }

    /// The cgroup path of a container.
    pub fn cgroup(&self, id: &str) -> String {
        format!("/{}.{id}", self.cgroup)
    }

    /// A spec for container `id`.
    pub fn spec(&self, id: &str, args: &[&str]) -> Value {
        spec(args, &self.cgroup(id))
    }

    /// Writes the bundle of a container.
    pub fn write(&self, id: &str, spec: &Value) -> ContainerBundle {
        let container = self.bundle.container(id);
        std::fs::create_dir_all(container.folder()).unwrap();
        let mut spec = spec.clone();
        if spec["root"]["path"] == "rootfs" {
            spec["root"]["path"] = json!(self.folder.path().join("rootfs"));
        }
        std::fs::write(container.config(), spec.to_string()).unwrap();
        container
    }

    /// Creates a container.
    pub async fn create(&self, id: &str, spec: &Value, options: &TaskOptions) -> Result<u32, Error> {
        let container = self.write(id, spec);
        let request = wire::CreateTaskRequest {
            id: id.to_owned(),
            bundle: container.folder().to_string_lossy().into_owned(),
            terminal: spec["process"]["terminal"] == true,
            options: Some(options::to_any(options::TASK_OPTIONS_URL, options).unwrap()),
            ..wire::CreateTaskRequest::default()
        };
        Ok(self.client.create(&request).await?.pid)
    }

    pub async fn start(&self, id: &str, exec_id: &str) -> Result<u32, Error> {
        let request = wire::StartRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
        Ok(self.client.start(&request).await?.pid)
    }

    /// Waits for the end of a process and answers its exit status.
    pub async fn wait(&self, id: &str, exec_id: &str) -> u32 {
        let request = wire::WaitRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
        tokio::time::timeout(TIMEOUT, self.client.wait(&request)).await.expect("it ends").unwrap().exit_status
    }

    pub async fn delete(&self, id: &str, exec_id: &str) -> Result<wire::DeleteResponse, Error> {
        self.client.delete(&wire::DeleteRequest { id: id.to_owned(), exec_id: exec_id.to_owned() }).await
    }

    pub async fn kill(&self, id: &str, signal: u32) -> Result<(), Error> {
        let request = wire::KillRequest { id: id.to_owned(), exec_id: String::new(), signal, all: false };
        self.client.kill(&request).await
    }

    /// Adds an exec of a shell command.
    pub async fn exec(&self, id: &str, exec_id: &str, process: Value, stdin: bool) -> Result<(), Error> {
        let process = serde_json::value::to_raw_value(&process).unwrap();
        let options = ExecOptions { process, log: options::LogSink::Null, stdin, wait_for_attach: stdin };
        let request = wire::ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            spec: Some(options::to_any(options::EXEC_OPTIONS_URL, &options).unwrap()),
            ..wire::ExecProcessRequest::default()
        };
        self.client.exec(&request).await
    }

    /// Runs a container to its end: exit status, and what it wrote as CRI log lines.
    pub async fn run(&self, id: &str, spec: &Value) -> (u32, String) {
        let (options, log) = self.logged(id);
        self.create(id, spec, &options).await.unwrap();
        let status = match self.start(id, "").await {
            Ok(_) => self.wait(id, "").await,
            Err(error) => panic!("start {id}: {error}"),
        };
        self.delete(id, "").await.unwrap();
        (status, read_log(&log))
    }

    /// Options that log to a file.
    pub fn logged(&self, id: &str) -> (TaskOptions, PathBuf) {
        let path = self.folder.path().join(format!("{id}.log"));
        let log = options::LogSink::CriFile { path: path.clone() };
        (TaskOptions { log, ..TaskOptions::default() }, path)
    }

    /// Ends the shim and sees that nothing is left.
    pub async fn end(self) {
        let _ = self.client.shutdown(&wire::ShutdownRequest { id: "box".into(), now: true }).await;
        assert!(self.process.wait_end(Duration::from_secs(10)).unwrap(), "the shim ends");
        let _ = self.process.reap();
        let left = cgroups_named(&self.cgroup);
        assert!(left.is_empty(), "cgroups are left: {left:?}");
    }
}

/// Top-level cgroups, in all hierarchies, whose names begin so.
pub fn cgroups_named(prefix: &str) -> Vec<PathBuf> {
    let prefix = prefix.trim_start_matches('/');
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    // On v2 the top-level cgroups are here already; on v1 below the hierarchy of each controller.
    let folders = hierarchies.flat_map(|entry| {
        let below = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        std::iter::once(entry).chain(below)
    });
    folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(prefix)).map(|f| f.path()).collect()
}

/// A test that failed half-way takes its processes and cgroups along.
impl Drop for World {
    fn drop(&mut self) {
        for round in 0..50 {
            let left = cgroups_named(&self.cgroup);
            if left.is_empty() {
                break;
            }
            for folder in left {
                for pid in std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
                    let _ = pid.parse().ok().and_then(|pid| PidFd::open(pid).ok()).map(|pid| pid.send_signal(9));
                }
                let _ = std::fs::remove_dir(folder);
            }
            if round > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.process.send_signal(9);
    }
}

/// The shim that is tested: beside this test, or in the folder that `GANTRY_E2E_PROGRAMS` names.
pub fn program() -> PathBuf {
    let built = || Path::new(env!("CARGO_BIN_EXE_containerd-shim-gantry-v1")).to_owned();
    let named = |folder| Path::new(&folder).join("containerd-shim-gantry-v1");
    std::env::var_os("GANTRY_E2E_PROGRAMS").map_or_else(built, named)
}

fn launch(bundle: &ShimBundle) -> io::Result<i32> {
    let listener = shim_api::unix_path::listen(&bundle.socket())?;
    // crun refuses hosts with both versions of cgroups, so the second one goes.
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" serve --id box --bundle \"$1\"";
    Program::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .arg(program())
        .arg(bundle.folder())
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .hand(3, OwnedFd::from(listener))
        .start()
}

/// The messages of a CRI log, lines put together again.
pub fn read_log(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let mut out = String::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = shim_api::log_format::parse_cri(line).expect("a CRI line");
        out.push_str(&String::from_utf8_lossy(&line.message));
        if !line.partial {
            out.push('\n');
        }
    }
    out
}
