//! The Sandbox service: this process is the pause container.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use shim_api::bundle::ShimBundle;
use shim_api::options::{self, IdMapping, NamespaceMode, SandboxNamespaces, SandboxOptions};
use shim_api::proto::sandbox as wire;
use shim_api::proto::types::Platform;
use shim_api::sandbox::{STATE_NOT_READY, STATE_READY};
use shim_api::time::{now_unix_ns, timestamp};
use shim_api::ttrpc::{Code, Error};
use sys::cgroup::Cgroup;
use sys::namespace::NamespaceKind;
use sys::pidfd::PidFd;
use tokio::sync::watch;

use crate::oci;
use crate::runtime::builtin::{HoldRequest, id_map};
use crate::runtime::{Failure, OciRuntime as _, cgroup_at};
use crate::serve::Shim;

type Answer<T> = Result<T, Error>;

/// Added to the grace that a caller gives: killed processes need a moment.
const STOP_MIN: Duration = Duration::from_secs(10);

/// A sandbox that was created.
#[derive(Debug)]
pub(crate) struct Sandbox {
    id: String,
    bundle: ShimBundle,
    options: SandboxOptions,
    cgroup: Option<Rc<Cgroup>>,
    network: RefCell<Option<OwnedFd>>,
    held: RefCell<Vec<(NamespaceKind, OwnedFd)>>,
    init: RefCell<Option<(i32, PidFd)>>,
    created_at_ns: i64,
    started: std::cell::Cell<bool>,
    /// When it stopped.
    stopped: watch::Sender<Option<i64>>,
}

fn to_error(failure: &Failure) -> Error {
    Error::new(Code::Internal, failure.message.clone())
}

impl Sandbox {
    pub(crate) fn is_held(&self) -> bool {
        self.started.get() && self.stopped.borrow().is_none()
    }

    fn path(&self, kind: NamespaceKind) -> Option<PathBuf> {
        let held = self.held.borrow();
        let fd = held.iter().find(|(held, _)| *held == kind).map(|(_, fd)| fd.as_raw_fd())?;
        Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())))
    }

    fn namespaces(&self) -> SandboxNamespaces {
        SandboxNamespaces {
            network: self.path(NamespaceKind::Network),
            ipc: self.path(NamespaceKind::Ipc),
            uts: self.path(NamespaceKind::Uts),
            pid: self.path(NamespaceKind::Pid),
            user: self.path(NamespaceKind::User),
            shm: self.path(NamespaceKind::Mount).map(|_| self.bundle.shm()),
        }
    }
}

impl Sandbox {
    /// A copy of the held `/dev/shm`.
    fn shm(&self) -> std::io::Result<Option<OwnedFd>> {
        let held = self.held.borrow();
        let Some((_, fd)) = held.iter().find(|(kind, _)| *kind == NamespaceKind::Mount) else { return Ok(None) };
        sys::mount::clone_from(fd.as_fd(), Path::new("/")).map(Some)
    }
}

fn mappings(ranges: &[IdMapping]) -> Vec<oci::IdMapping> {
    ranges.iter().map(|r| oci::IdMapping { container_id: r.container_id, host_id: r.host_id, size: r.size }).collect()
}

impl Shim {
    fn sandbox(&self, id: &str) -> Answer<Rc<Sandbox>> {
        let sandbox = self.sandbox.borrow().clone();
        sandbox
            .filter(|sandbox| sandbox.id == id)
            .ok_or_else(|| Error::new(Code::NotFound, format!("sandbox {id} not found")))
    }

    /// A copy of the `/dev/shm` that a container shares: that of process `of`'s container, else the sandbox's.
    pub(crate) fn shared_memory(&self, of: Option<i32>) -> std::io::Result<Option<OwnedFd>> {
        if let Some(pid) = of {
            let namespace = sys::namespace::of_process(pid, NamespaceKind::Mount)?;
            return sys::mount::clone_from(namespace.as_fd(), Path::new("/dev/shm")).map(Some);
        }
        let sandbox = self.sandbox.borrow().clone();
        sandbox.map_or(Ok(None), |sandbox| sandbox.shm())
    }

    pub(crate) fn sandbox_is_held(&self) -> bool {
        self.sandbox.borrow().as_ref().is_some_and(|sandbox| sandbox.is_held())
    }

    pub(crate) async fn create_sandbox(
        self: Rc<Self>,
        request: wire::CreateSandboxRequest,
    ) -> Answer<wire::CreateSandboxResponse> {
        if self.sandbox.borrow().is_some() {
            return Err(Error::new(Code::AlreadyExists, format!("sandbox {} exists already", request.sandbox_id)));
        }
        let options: SandboxOptions = match &request.options {
            Some(any) if any.type_url == options::SANDBOX_OPTIONS_URL => options::from_any(any)?,
            Some(any) => {
                return Err(Error::new(Code::InvalidArgument, format!("options: {} is not understood", any.type_url)));
            }
            None => SandboxOptions::default(),
        };
        let network = match (options.network, self.network.borrow_mut().take(), request.netns_path.as_str()) {
            (NamespaceMode::Sandbox, Some(fd), _) => Some(fd),
            (NamespaceMode::Sandbox, None, path) if !path.is_empty() => {
                let opened = sys::namespace::open(Path::new(path));
                Some(opened.map_err(|e| Error::new(Code::InvalidArgument, format!("netns_path: {path}: {e}")))?)
            }
            _ => None,
        };
        let bundle = ShimBundle::at(PathBuf::from(&request.bundle_path));
        // A cgroup is for the init: without one nothing of the sandbox's own runs.
        let path = options.cgroup.as_ref().filter(|_| options.pid == NamespaceMode::Sandbox);
        let cgroup = path.map(|path| cgroup_at(path, options.cgroup_driver).map(Rc::new)).transpose();
        let cgroup = cgroup.map_err(|failure| to_error(&failure))?;
        if let Some(path) = path {
            let written = std::fs::write(bundle.cgroup(), path);
            written.map_err(|e| Error::new(Code::Internal, format!("{}: {e}", bundle.cgroup().display())))?;
        }
        let sandbox = Sandbox {
            id: request.sandbox_id,
            bundle,
            cgroup,
            options,
            network: RefCell::new(network),
            held: RefCell::default(),
            init: RefCell::default(),
            created_at_ns: now_unix_ns(),
            started: std::cell::Cell::new(false),
            stopped: watch::Sender::new(None),
        };
        *self.sandbox.borrow_mut() = Some(Rc::new(sandbox));
        Ok(wire::CreateSandboxResponse {})
    }

    pub(crate) async fn start_sandbox(
        self: Rc<Self>,
        request: wire::StartSandboxRequest,
    ) -> Answer<wire::StartSandboxResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        if sandbox.started.replace(true) {
            return Err(Error::new(Code::FailedPrecondition, format!("sandbox {} was started already", sandbox.id)));
        }
        if let Err(failure) = self.hold(&sandbox).await {
            sandbox.started.set(false);
            return Err(to_error(&failure));
        }
        let spec = options::to_any(options::SANDBOX_NAMESPACES_URL, &sandbox.namespaces())?;
        Ok(wire::StartSandboxResponse {
            pid: std::process::id(),
            created_at: Some(timestamp(sandbox.created_at_ns)),
            spec: Some(spec),
        })
    }

    async fn hold(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let options = &sandbox.options;
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| Failure::io("namespace", "", &e));
        let user = if options.uid_mappings.is_empty() {
            None
        } else {
            Some(id_map::user_namespace(&mappings(&options.uid_mappings), &mappings(&options.gid_mappings))?)
        };
        let network = sandbox.network.borrow().as_ref().map(copy).transpose()?;
        let wanted = [
            (NamespaceKind::Network, options.network == NamespaceMode::Sandbox && network.is_none()),
            (NamespaceKind::Ipc, options.ipc == NamespaceMode::Sandbox),
            (NamespaceKind::Uts, options.uts == NamespaceMode::Sandbox),
            (NamespaceKind::Pid, options.pid == NamespaceMode::Sandbox),
        ];
        let request = HoldRequest {
            new: wanted.into_iter().filter_map(|(kind, wanted)| wanted.then_some(kind)).collect(),
            network,
            user: user.as_ref().map(copy).transpose()?,
            hostname: options.hostname.clone().unwrap_or_default(),
            domainname: options.domainname.clone().unwrap_or_default(),
            sysctls: options.sysctls.clone(),
            shm_bytes: options.shm_bytes,
            cgroup: sandbox.cgroup.clone(),
        };
        let held = self.builtin.hold(request).await?;
        let mut namespaces = held.namespaces;
        namespaces.extend(user.map(|fd| (NamespaceKind::User, fd)));
        namespaces.extend(sandbox.network.borrow_mut().take().map(|fd| (NamespaceKind::Network, fd)));
        *sandbox.held.borrow_mut() = namespaces;
        *sandbox.init.borrow_mut() = held.init;
        Ok(())
    }

    pub(crate) async fn platform(self: Rc<Self>, request: wire::PlatformRequest) -> Answer<wire::PlatformResponse> {
        self.sandbox(&request.sandbox_id)?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let platform =
            Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), ..Platform::default() };
        Ok(wire::PlatformResponse { platform: Some(platform) })
    }

    pub(crate) async fn stop_sandbox(
        self: Rc<Self>,
        request: wire::StopSandboxRequest,
    ) -> Answer<wire::StopSandboxResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        let containers: Vec<_> = self.containers.borrow().values().map(Rc::clone).collect();
        for container in &containers {
            let _ = container.runtime.resume(&container.id).await;
            let _ = container.runtime.kill(&container.id, libc::SIGKILL, true).await;
        }
        let limit = STOP_MIN + Duration::from_secs(u64::from(request.timeout_secs));
        let ends = async {
            for container in &containers {
                container.init.wait().await;
            }
        };
        tokio::time::timeout(limit, ends).await.map_err(|_elapsed| {
            Error::new(
                Code::DeadlineExceeded,
                format!("sandbox {}: processes survive SIGKILL for {limit:?}", sandbox.id),
            )
        })?;
        if let Some((_pid, pidfd)) = sandbox.init.borrow_mut().take() {
            let _ = pidfd.send_signal(libc::SIGKILL);
            if let Some(cgroup) = &sandbox.cgroup {
                let removed = cgroup.kill_all().and_then(|()| cgroup.remove());
                removed.map_err(|e| Error::new(Code::Internal, format!("sandbox {}: {e}", sandbox.id)))?;
                let _ = std::fs::remove_file(sandbox.bundle.cgroup());
            }
        }
        sandbox.held.borrow_mut().clear();
        sandbox.stopped.send_if_modified(|at| {
            let first = at.is_none();
            at.get_or_insert_with(now_unix_ns);
            first
        });
        Ok(wire::StopSandboxResponse {})
    }

    pub(crate) async fn wait_sandbox(
        self: Rc<Self>,
        request: wire::WaitSandboxRequest,
    ) -> Answer<wire::WaitSandboxResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        let mut stopped = sandbox.stopped.subscribe();
        let at = stopped.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        Ok(wire::WaitSandboxResponse { exit_status: 0, exited_at: at.map(timestamp) })
    }

    pub(crate) async fn sandbox_status(
        self: Rc<Self>,
        request: wire::SandboxStatusRequest,
    ) -> Answer<wire::SandboxStatusResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let namespaces = sandbox.namespaces();
            let text = serde_json::to_string(&namespaces).unwrap_or_default();
            info.insert("namespaces".to_owned(), text);
            info.insert("containers".to_owned(), self.containers.borrow().len().to_string());
        }
        let stopped_at = *sandbox.stopped.borrow();
        Ok(wire::SandboxStatusResponse {
            sandbox_id: sandbox.id.clone(),
            pid: std::process::id(),
            state: if sandbox.is_held() { STATE_READY } else { STATE_NOT_READY }.to_owned(),
            info,
            created_at: Some(timestamp(sandbox.created_at_ns)),
            exited_at: stopped_at.map(timestamp),
            extra: Some(options::to_any(options::SANDBOX_NAMESPACES_URL, &sandbox.namespaces())?),
        })
    }

    pub(crate) async fn ping_sandbox(self: Rc<Self>, _request: wire::PingRequest) -> Answer<wire::PingResponse> {
        Ok(wire::PingResponse {})
    }

    pub(crate) async fn shutdown_sandbox(
        self: Rc<Self>,
        request: wire::ShutdownSandboxRequest,
    ) -> Answer<wire::ShutdownSandboxResponse> {
        if self.sandbox(&request.sandbox_id).is_ok_and(|sandbox| sandbox.is_held()) {
            let stop = wire::StopSandboxRequest { sandbox_id: request.sandbox_id, timeout_secs: 0 };
            Rc::clone(&self).stop_sandbox(stop).await?;
        }
        self.stop.notify_one();
        Ok(wire::ShutdownSandboxResponse {})
    }
}
