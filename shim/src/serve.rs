//! The shim as a server: what it holds, how calls reach it, when it ends.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use shim_api::bundle::ShimBundle;
use shim_api::options::{RuntimeChoice, TaskOptions};
use shim_api::ttrpc::{self, Code, Dispatch, Error, Reply, decode, encode};
use shim_api::{sandbox, task};
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::container::Container;
use crate::events::Events;
use crate::io::attach;
use crate::reaper::Reaper;
use crate::runtime::builtin::{Builtin, raw};
use crate::runtime::command::CommandRuntime;
use crate::runtime::other_shim::OtherShimRuntime;
use crate::runtime::{OciRuntime as _, Runtime};
use crate::sandbox_service::Sandbox;

/// The last events are given this long before the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Time for the last answer to leave.
const ANSWER_TIME: Duration = Duration::from_millis(1);

/// Everything the shim holds.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) containers: RefCell<BTreeMap<String, Rc<Container>>>,
    /// Ids whose containers are being made.
    pub(crate) creating: RefCell<BTreeSet<String>>,
    pub(crate) sandbox: RefCell<Option<Rc<Sandbox>>>,
    /// Network namespace given at launch.
    pub(crate) network: RefCell<Option<OwnedFd>>,
    pub(crate) builtin: Rc<Builtin>,
    pub(crate) reaper: Rc<Reaper>,
    pub(crate) events: Rc<Events>,
    pub(crate) stop: Notify,
    containerd: bool,
    warned: RefCell<BTreeSet<String>>,
}

/// How the shim was started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) bundle: ShimBundle,
    pub(crate) listener: StdListener,
    pub(crate) network: Option<OwnedFd>,
    /// containerd's event socket and namespace.
    pub(crate) events: Option<(std::path::PathBuf, String)>,
    /// Serve attach clients.
    pub(crate) attach: bool,
}

/// Serves until told to end.
pub(crate) async fn run(start: Start) -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let reaper = Rc::new(Reaper::default());
    let shim = Rc::new(Shim {
        containers: RefCell::default(),
        creating: RefCell::default(),
        sandbox: RefCell::default(),
        network: RefCell::new(start.network),
        builtin: Rc::new(Builtin::new(Rc::clone(&reaper))),
        reaper: Rc::clone(&reaper),
        containerd: start.events.is_some(),
        events: Rc::new(Events::new(start.events)),
        stop: Notify::new(),
        warned: RefCell::default(),
    });
    let own_uid = rustix::process::getuid().as_raw();
    start.listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(start.listener)?;
    tokio::task::spawn_local(reaper.run());
    tokio::task::spawn_local(ttrpc::serve(listener, Rc::clone(&shim), own_uid));
    if start.attach {
        let socket = UnixListener::from_std(shim_api::unix_path::listen(&start.bundle.attach_socket())?)?;
        let streams = Rc::clone(&shim);
        let find: Rc<attach::Find> = Rc::new(move |id: &str, exec_id: &str| streams.find_streams(id, exec_id));
        tokio::task::spawn_local(attach::serve(socket, find, own_uid));
        tokio::task::spawn_local(end_with_creator(Rc::clone(&shim)));
    }
    shim.stop.notified().await;
    end_other_shims(&shim).await;
    // The answer to the call that ended us is still to be sent: all that is ready runs before a timer does. A caller
    // waits for our end, so not longer than needed.
    tokio::time::sleep(ANSWER_TIME).await;
    // The bundle is left to its maker, who removes it once we have ended: the sockets at these paths may by then be
    // those of a shim that was started after us for the same sandbox.
    shim.events.flush(FLUSH_MAX).await;
    Ok(())
}

/// What was not deleted leaves no shim of another's behind.
async fn end_other_shims(shim: &Shim) {
    let containers: Vec<_> = shim.containers.borrow().values().map(Rc::clone).collect();
    for container in containers.iter().filter(|container| container.runtime.is_elsewhere()) {
        let _ = container.runtime.delete(&container.id).await;
    }
}

/// A shim whose creator ends while it holds nothing is of no use to anyone.
async fn end_with_creator(shim: Rc<Shim>) {
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let watched = sys::pidfd::PidFd::open(parent)
        .and_then(|pidfd| std::os::fd::AsFd::as_fd(&pidfd).try_clone_to_owned())
        .and_then(|fd| raw::watch(fd, Interest::READABLE));
    if parent > 1
        && let Ok(fd) = watched
    {
        let _ = fd.readable().await;
    }
    let idle = shim.containers.borrow().is_empty() && shim.creating.borrow().is_empty();
    if idle && !shim.sandbox_is_held() {
        shim.stop.notify_one();
    }
}

impl Shim {
    /// Whether containerd, not our engine, is on the other side.
    pub(crate) fn for_containerd(&self) -> bool {
        self.containerd
    }

    /// Says each warning once in the life of this shim.
    pub(crate) fn say_once(&self, warnings: &[String]) {
        for warning in warnings {
            if self.warned.borrow_mut().insert(warning.clone()) {
                crate::journal::say(warning);
            }
        }
    }

    /// The runtime that a container asked for.
    pub(crate) fn runtime(&self, options: &TaskOptions, bundle: &Path) -> Rc<Runtime> {
        Rc::new(match &options.runtime {
            RuntimeChoice::Builtin => Runtime::Builtin(Rc::clone(&self.builtin)),
            RuntimeChoice::Command { binary, root } => {
                let root = root.clone().unwrap_or_else(|| bundle.join("runtime"));
                Runtime::Command(CommandRuntime::new(
                    binary.clone(),
                    root,
                    options.cgroup_driver,
                    Rc::clone(&self.reaper),
                ))
            }
            RuntimeChoice::Shim { binary, config } => Runtime::OtherShim(OtherShimRuntime::new(
                binary.clone(),
                config.clone(),
                options.cgroup_driver,
                Rc::clone(&self.reaper),
            )),
        })
    }

    fn find_streams(&self, id: &str, exec_id: &str) -> Result<Rc<crate::io::streams::Streams>, String> {
        let containers = self.containers.borrow();
        let container = containers.get(id).ok_or_else(|| format!("container {id} not found"))?;
        let process =
            container.process(exec_id).ok_or_else(|| format!("exec {exec_id} of container {id} not found"))?;
        Ok(Rc::clone(&process.streams))
    }

    /// Runs a call to its end even when the caller hangs up.
    fn detached<Q, A, F, W>(self: Rc<Self>, payload: Bytes, call: F) -> Reply
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: FnOnce(Rc<Self>, Q) -> W + 'static,
        W: Future<Output = Result<A, Error>> + 'static,
    {
        Box::pin(async move {
            let request = decode::<Q>(payload)?;
            let work = tokio::task::spawn_local(call(self, request));
            let answer = work.await.map_err(|e| Error::new(Code::Internal, format!("the call failed: {e}")))??;
            Ok(encode(&answer))
        })
    }

    /// Runs a call that may be given up: it changes nothing.
    fn attached<Q, A, F, W>(self: Rc<Self>, payload: Bytes, call: F) -> Reply
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: FnOnce(Rc<Self>, Q) -> W + 'static,
        W: Future<Output = Result<A, Error>> + 'static,
    {
        Box::pin(async move { Ok(encode(&call(self, decode::<Q>(payload)?).await?)) })
    }

    fn task(self: Rc<Self>, method: &str, payload: Bytes) -> Reply {
        match method {
            "Create" => self.detached(payload, Self::create),
            "Start" => self.detached(payload, Self::start),
            "Delete" => self.detached(payload, Self::delete),
            "Exec" => self.detached(payload, Self::exec),
            "Kill" => self.detached(payload, Self::kill),
            "Pause" => self.detached(payload, Self::pause),
            "Resume" => self.detached(payload, Self::resume),
            "Update" => self.detached(payload, Self::update),
            "Checkpoint" => self.detached(payload, Self::checkpoint),
            "ResizePty" => self.attached(payload, Self::resize),
            "CloseIO" => self.attached(payload, Self::close_io),
            "State" => self.attached(payload, Self::state),
            "Wait" => self.attached(payload, Self::wait),
            "Pids" => self.attached(payload, Self::pids),
            "Stats" => self.attached(payload, Self::stats),
            "Connect" => self.attached(payload, Self::connect),
            "Shutdown" => self.attached(payload, Self::shutdown),
            other => unknown("Task", other),
        }
    }

    fn sandbox_call(self: Rc<Self>, method: &str, payload: Bytes) -> Reply {
        match method {
            "CreateSandbox" => self.detached(payload, Self::create_sandbox),
            "StartSandbox" => self.detached(payload, Self::start_sandbox),
            "StopSandbox" => self.detached(payload, Self::stop_sandbox),
            "ShutdownSandbox" => self.detached(payload, Self::shutdown_sandbox),
            "Platform" => self.attached(payload, Self::platform),
            "WaitSandbox" => self.attached(payload, Self::wait_sandbox),
            "SandboxStatus" => self.attached(payload, Self::sandbox_status),
            "PingSandbox" => self.attached(payload, Self::ping_sandbox),
            other => unknown("Sandbox", other),
        }
    }
}

fn unknown(service: &str, method: &str) -> Reply {
    let error = Error::new(Code::Unimplemented, format!("{service}.{method} is not implemented"));
    Box::pin(std::future::ready(Err(error)))
}

impl Dispatch for Shim {
    fn dispatch(self: Rc<Self>, service: String, method: String, payload: Bytes) -> Reply {
        match service.as_str() {
            task::SERVICE_V2 | task::SERVICE_V3 => self.task(&method, payload),
            sandbox::SERVICE => self.sandbox_call(&method, payload),
            task::SERVICE_LOGS if method == "Reopen" => self.attached(payload, Self::reopen_log),
            other => unknown(other, &method),
        }
    }
}
