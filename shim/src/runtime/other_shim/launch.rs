//! How another shim begins: containerd's `start` and `delete` commands, its log FIFO, and someone who takes its events.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;
use shim_api::Any;
use shim_api::bundle::{ContainerBundle, OtherShim};
use shim_api::proto::task::v3 as wire;
use shim_api::task::{TaskClient, TaskVersion};
use shim_api::ttrpc::{self, Client, Dispatch, Reply};
use shim_api::unix_path;
use sys::pidfd::PidFd;
use sys::spawn::Program;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use super::{process_of, raw};
use crate::journal;
use crate::reaper::Reaper;
use crate::runtime::command::search_path;
use crate::runtime::{Failure, Result};

/// A shim that has not printed its address by then is stuck.
const START_MAX: Duration = Duration::from_secs(20);
/// For any call; the engine's own deadlines are shorter.
const CALL_MAX: Duration = Duration::from_secs(110);
/// Of what a shim prints, this much is read.
const SAID_BYTES_MAX: u64 = 16 << 10;
/// Of what a shim logs, this much is kept.
const LOG_BYTES_MAX: usize = 64 << 10;
/// containerd's namespace, in which the other shim thinks it is.
const NAMESPACE: &str = "gantry";

/// What to launch.
pub(super) struct Launch<'a> {
    pub(super) binary: &'a Path,
    pub(super) id: &'a str,
    pub(super) bundle: &'a ContainerBundle,
    pub(super) options: Option<&'a Any>,
}

/// A shim that answers.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) task: TaskClient,
    pub(super) process: Option<PidFd>,
    pub(super) socket: PathBuf,
    _served: Vec<Served>,
    /// Socket addresses are short: the other shim reaches its event socket through this folder.
    _folder: std::fs::File,
}

/// Work that ends with its owner.
#[derive(Debug)]
struct Served(AbortHandle);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes every event: what a container does is learnt from its shim's answers.
struct EventSink;

impl Dispatch for EventSink {
    fn dispatch(self: Rc<Self>, _service: String, _method: String, _payload: Bytes) -> Reply {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// The answer of `start` as of containerd 1.7; before, it was the bare address.
#[derive(Debug, Deserialize)]
struct Bootstrap {
    version: u32,
    address: String,
    protocol: String,
}

/// Runs `start`; `prepare` runs before it and decides which mounts it sees.
pub(super) async fn launch(
    launch: Launch<'_>,
    reaper: &Reaper,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> Result<Launched> {
    let folder = launch.bundle.folder();
    let about = |e: io::Error| Failure::io("shim", launch.binary.display(), &e);
    let events = unix_path::listen(&folder.join("events.sock")).and_then(UnixListener::from_std).map_err(about)?;
    let opened = std::fs::File::open(folder).map_err(about)?;
    let address = format!("/proc/{}/fd/{}/events.sock", std::process::id(), opened.as_raw_fd());
    let own_uid = rustix::process::getuid().as_raw();
    let served = vec![
        Served(tokio::task::spawn_local(ttrpc::serve(events, Rc::new(EventSink), own_uid)).abort_handle()),
        Served(tokio::task::spawn_local(keep_log(log_fifo(folder).map_err(about)?)).abort_handle()),
    ];
    let program = command(launch.binary, launch.id, folder, &address);
    let input = launch.options.map(|any| any.encode_to_vec()).unwrap_or_default();
    let said = run(program.arg("start"), &input, reaper, prepare).await.map_err(about)?;
    let (socket, version) = parse(said.trim())
        .map_err(|reason| Failure::new("shim", format!("{} start: {reason}", launch.binary.display())))?;
    let unreachable = |e: ttrpc::Error| {
        Failure::new("shim", format!("{}: {} does not answer: {e}", launch.binary.display(), socket.display()))
    };
    let client = Client::connect(&socket).await.map_err(unreachable)?;
    let task = TaskClient::new(client, version, CALL_MAX);
    let pid = task.connect(&wire::ConnectRequest { id: launch.id.to_owned() }).await.map_err(unreachable)?.shim_pid;
    let record = OtherShim { pid: i32::try_from(pid).unwrap_or(0), socket: socket.clone() };
    let record = serde_json::to_vec(&record).map_err(|e| about(e.into()))?;
    std::fs::write(launch.bundle.other_shim(), record).map_err(about)?;
    Ok(Launched { task, process: process_of(pid), socket, _served: served, _folder: opened })
}

/// Runs `delete`: the other shim's own way to remove what it cannot be asked to remove any more.
pub(super) async fn clean_up(binary: &Path, id: &str, bundle: &ContainerBundle, reaper: &Reaper) {
    let program = command(binary, id, bundle.folder(), "").arg("-bundle").arg(bundle.folder()).arg("delete");
    if let Err(error) = run(program, &[], reaper, || Ok(())).await {
        journal::say(&format!("{id}: {} delete: {error}", binary.display()));
    }
}

/// containerd's command line, as its `core/runtime/v2` builds it.
fn command(binary: &Path, id: &str, folder: &Path, events: &str) -> Program {
    Program::new(binary)
        .args(["-namespace", NAMESPACE, "-address", events, "-publish-binary", "/proc/self/exe", "-id", id])
        .env("PATH", search_path())
        .env("TTRPC_ADDRESS", events)
        .env("GRPC_ADDRESS", events)
        .env("NAMESPACE", NAMESPACE)
        .env("MAX_SHIM_VERSION", "3")
        .env("GOMAXPROCS", "2")
        .current_dir(folder)
}

/// Runs a command to its end and answers what it printed; when it fails, that is the error.
async fn run(
    program: Program,
    input: &[u8],
    reaper: &Reaper,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<String> {
    let (stdin, mut to_stdin) = io::pipe()?;
    let (from_stdout, stdout) = io::pipe()?;
    let (from_stderr, stderr) = io::pipe()?;
    // Options are small beside a pipe's room, so that this does not wait.
    to_stdin.write_all(input)?;
    drop(to_stdin);
    let program = program.stdin(stdin.into()).stdout(stdout.into()).stderr(stderr.into());
    let pid = program.start_prepared(prepare)?;
    let exit = tokio::time::timeout(START_MAX, reaper.watch(pid)).await;
    let (said, complaint) = (read_now(from_stdout), read_now(from_stderr));
    match exit {
        Ok(Ok(exit)) if exit.status == 0 => Ok(said),
        Ok(_) => Err(io::Error::other(format!("{} {}", said.trim(), complaint.trim()).trim().to_owned())),
        Err(_elapsed) => {
            if let Ok(stuck) = PidFd::open(pid) {
                let _ = stuck.send_signal(libc::SIGKILL);
            }
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {START_MAX:?}")))
        }
    }
}

/// What is in a pipe now: the shim that was started may hold the other end for as long as it lives.
fn read_now(pipe: io::PipeReader) -> String {
    let mut said = Vec::new();
    if rustix::io::ioctl_fionbio(&pipe, true).is_ok() {
        let _ = pipe.take(SAID_BYTES_MAX).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn parse(said: &str) -> std::result::Result<(PathBuf, TaskVersion), String> {
    let (address, version) = if said.starts_with('{') {
        let told: Bootstrap = serde_json::from_str(said).map_err(|e| format!("{said:?}: {e}"))?;
        if told.protocol != "ttrpc" {
            return Err(format!("protocol {:?} is not supported, only ttrpc", told.protocol));
        }
        match told.version {
            2 => (told.address, TaskVersion::V2),
            3 => (told.address, TaskVersion::V3),
            other => return Err(format!("version {other} of the task service is not known")),
        }
    } else {
        (said.lines().last().unwrap_or_default().to_owned(), TaskVersion::V2)
    };
    let path = address.strip_prefix("unix://").unwrap_or(&address);
    if path.starts_with('/') {
        Ok((PathBuf::from(path), version))
    } else {
        Err(format!("{address:?} is not the address of a unix socket"))
    }
}

/// The FIFO `log` of a bundle, from which containerd reads what a shim logs.
fn log_fifo(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let path = folder.join("log");
    sys::fifo::make(&path)?;
    // Read-write, so that it does not end between two writers.
    raw::watch(sys::fifo::open_write(&path)?, Interest::READABLE)
}

/// Copies the other shim's log into ours, up to a limit, and what is beyond it nowhere.
async fn keep_log(fifo: AsyncFd<OwnedFd>) {
    let mut chunk = vec![0; 4 << 10];
    let mut kept = 0;
    loop {
        let Ok(mut guard) = fifo.readable().await else { return };
        match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut chunk[..])?)) {
            Ok(Ok(len)) if kept < LOG_BYTES_MAX => {
                kept += len;
                journal::say(String::from_utf8_lossy(&chunk[..len]).trim_end());
            }
            Ok(Err(_)) => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_answer() {
        let v2 = (PathBuf::from("/run/containerd/s/ab"), TaskVersion::V2);
        assert_eq!(parse("unix:///run/containerd/s/ab").unwrap(), v2);
        assert_eq!(parse(r#"{"version":2,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#).unwrap(), v2);
        let v3 = parse(r#"{"version":3,"address":"unix:///s","protocol":"ttrpc"}"#).unwrap();
        assert_eq!(v3, (PathBuf::from("/s"), TaskVersion::V3));
    }

    #[test]
    fn what_cannot_be_spoken_to_is_refused_by_name() {
        let grpc = parse(r#"{"version":3,"address":"unix:///s","protocol":"grpc"}"#).unwrap_err();
        assert!(grpc.contains("grpc"), "{grpc}");
        assert!(parse(r#"{"version":4,"address":"unix:///s","protocol":"ttrpc"}"#).unwrap_err().contains('4'));
        for wrong in ["", "vsock://3:1024", "{"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
