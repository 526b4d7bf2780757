//! The built-in OCI runtime: containers without a runtime program.
//!
//! The shim prepares whatever can be prepared outside (root file system and bind sources as detached mounts, compiled
//! seccomp program, user namespace), clones itself once into new namespaces, and the clone walks [`init`]'s list of
//! steps to the user's program. Nothing of a container is ever in the host's mount table.

mod channel;
mod copy_up;
mod devices;
mod exec;
mod handshake;
mod holder;
mod hooks;
pub(crate) mod id_map;
mod init;
mod launch;
mod mount_options;
mod mounts;
mod overlay_page;
pub(crate) mod pid_one;
mod process;
pub(crate) mod raw;
pub(crate) mod rootfs;
mod user_file;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use sys::cgroup::{Cgroup, CgroupStats, Limits};
use sys::clone::CloneFlags;
use sys::namespace::NamespaceKind;
use sys::pidfd::PidFd;
use sys::seccomp;

use self::channel::ParentEnd;
pub(crate) use self::channel::receive_descriptor;
use self::exec::ExecPlan;
use self::handshake::ToChild;
pub(crate) use self::holder::{Held, HoldRequest};
use self::launch::Placement;
use self::process::ProcessPlan;
use crate::oci::{NamespaceName, NamespaceSource, Process, Spec};
use crate::reaper::Reaper;
use crate::runtime::{CreateRequest, Created, ExecRequest, Failure, OciRuntime, Result, cgroup_of, limits_of};

/// Compiled programs that are kept; a sandbox has one or two profiles.
const FILTERS_MAX: usize = 8;
/// How long the kernel may take to end processes that were killed, before their cgroup is removed.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The built-in runtime's containers.
pub(crate) struct Builtin {
    containers: RefCell<HashMap<String, Rc<Container>>>,
    filters: RefCell<HashMap<u64, Rc<seccomp::Program>>>,
    reaper: Rc<Reaper>,
    own_pid_namespace: OnceCell<OwnedFd>,
}

struct Container {
    spec: Rc<Spec>,
    bundle: PathBuf,
    cgroup: Cgroup,
    pid: i32,
    pidfd: PidFd,
    /// Until it is started.
    channel: RefCell<Option<ParentEnd>>,
    pid_namespace: OnceCell<OwnedFd>,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builtin").finish_non_exhaustive()
    }
}

impl Builtin {
    pub(crate) fn new(reaper: Rc<Reaper>) -> Self {
        Self { containers: RefCell::default(), filters: RefCell::default(), reaper, own_pid_namespace: OnceCell::new() }
    }

    fn container(&self, id: &str) -> Result<Rc<Container>> {
        let found = self.containers.borrow().get(id).map(Rc::clone);
        found.ok_or_else(|| Failure::new("find", format!("container {id} does not exist")))
    }

    fn own_pid_namespace(&self) -> Result<&OwnedFd> {
        if self.own_pid_namespace.get().is_none() {
            let fd = sys::namespace::own(NamespaceKind::Pid).map_err(|e| Failure::io("namespace", "pid", &e))?;
            let _ = self.own_pid_namespace.set(fd);
        }
        self.own_pid_namespace.get().ok_or_else(|| Failure::new("namespace", "own PID namespace"))
    }

    /// The compiled filter of a spec. The same text is compiled once.
    fn filter(&self, spec: &Spec) -> Result<Option<Rc<seccomp::Program>>> {
        let Some(text) = &spec.linux.seccomp else { return Ok(None) };
        let mut hasher = DefaultHasher::new();
        text.get().hash(&mut hasher);
        let key = hasher.finish();
        if let Some(program) = self.filters.borrow().get(&key) {
            return Ok(Some(Rc::clone(program)));
        }
        let profile: seccomp::LinuxSeccomp =
            serde_json::from_str(text.get()).map_err(|e| Failure::new("seccomp", format!("linux.seccomp: {e}")))?;
        let program = seccomp::compile(&profile).map_err(|e| Failure::new("seccomp", e.to_string()))?;
        if program.has_listener() {
            let message = "linux.seccomp: SCMP_ACT_NOTIFY needs a listener, which is not supported";
            return Err(Failure::new("seccomp", message));
        }
        let program = Rc::new(program);
        let mut filters = self.filters.borrow_mut();
        if filters.len() >= FILTERS_MAX {
            filters.clear();
        }
        filters.insert(key, Rc::clone(&program));
        Ok(Some(program))
    }

    /// Makes the namespaces of a sandbox and holds them.
    pub(crate) async fn hold(&self, request: HoldRequest) -> Result<Held> {
        holder::hold(request, self.own_pid_namespace()?).await
    }

    /// Thaws it, if it is there and frozen.
    pub(crate) fn thaw(&self, id: &str) {
        if let Ok(container) = self.container(id) {
            let _ = container.cgroup.thaw();
        }
    }

    async fn create_in(&self, request: CreateRequest, cgroup: &Cgroup) -> Result<launch::NewContainer> {
        let filter = self.filter(&request.spec)?;
        launch::create(request, cgroup, filter, self.own_pid_namespace()?, &self.reaper).await
    }
}

impl Container {
    /// The namespaces that exec enters by the first process's pidfd.
    fn kinds(&self) -> Vec<NamespaceKind> {
        let names = [
            NamespaceName::User,
            NamespaceName::Mount,
            NamespaceName::Network,
            NamespaceName::Ipc,
            NamespaceName::Uts,
            NamespaceName::Cgroup,
        ];
        let has = |name: &NamespaceName| self.spec.namespace(*name) != NamespaceSource::Inherited;
        names.into_iter().filter(has).map(NamespaceName::kind).collect()
    }

    fn pid_namespace(&self) -> Result<Option<&OwnedFd>> {
        if self.spec.namespace(NamespaceName::Pid) == NamespaceSource::Inherited {
            return Ok(None);
        }
        if self.pid_namespace.get().is_none() {
            let fd = sys::namespace::of_process(self.pid, NamespaceKind::Pid)
                .map_err(|e| Failure::io("namespace", "pid of the container", &e))?;
            let _ = self.pid_namespace.set(fd);
        }
        Ok(self.pid_namespace.get())
    }

    fn plan_exec(&self, request: ExecRequest, filter: Option<Rc<seccomp::Program>>) -> Result<(Process, ExecPlan<'_>)> {
        request.process.check().map_err(|e| Failure::new("config", e))?;
        let process = ProcessPlan::new(&request.process, filter, None, request.stdio)?;
        let wait = true;
        let plan = ExecPlan {
            container: self.pidfd.as_fd(),
            kinds: self.kinds(),
            process,
            terminal_size: request.terminal_size,
            wait,
        };
        Ok((request.process, plan))
    }
}

fn cgroup_failure(error: &sys::cgroup::Error) -> Failure {
    Failure::new("cgroup", error.to_string())
}

impl OciRuntime for Builtin {
    async fn create(&self, request: CreateRequest) -> Result<Created> {
        if self.containers.borrow().contains_key(&request.id) {
            return Err(Failure::new("create", format!("container {} exists already", request.id)));
        }
        let (id, spec, bundle) = (request.id.clone(), Rc::clone(&request.spec), request.bundle.clone());
        let cgroup = cgroup_of(&spec, &id, request.cgroup_driver)?;
        cgroup.create(&limits_of(&spec)).map_err(|e| cgroup_failure(&e))?;
        let new = match self.create_in(request, &cgroup).await {
            Ok(new) => new,
            Err(failure) => {
                let _ = cgroup.kill_all();
                let _ = cgroup.remove();
                return Err(failure);
            }
        };
        let pidfd = PidFd::open(new.created.pid).map_err(|e| Failure::io("pidfd", new.created.pid, &e))?;
        let container = Container {
            spec,
            bundle,
            cgroup,
            pid: new.created.pid,
            pidfd,
            channel: RefCell::new(Some(new.channel)),
            pid_namespace: OnceCell::new(),
        };
        self.containers.borrow_mut().insert(id, Rc::new(container));
        Ok(new.created)
    }

    async fn start(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let channel = container.channel.borrow_mut().take();
        let channel = channel.ok_or_else(|| Failure::new("start", format!("container {id} was started already")))?;
        channel.send(ToChild::Start).map_err(|e| Failure::io("start", id, &e))?;
        launch::listen(&channel, true, async || Ok(())).await?;
        let hooks = &container.spec.hooks.poststart;
        let state = hooks::state(&container.spec, id, &container.bundle, "running", container.pid);
        hooks::run_outside("poststart", hooks, &state, &self.reaper).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Created> {
        let container = self.container(id)?;
        let filter = self.filter(&container.spec)?;
        let pid_namespace = container.pid_namespace()?;
        let own_pid_namespace = self.own_pid_namespace()?;
        let (process, plan) = container.plan_exec(request, filter)?;
        let placement = Placement { cgroup: Some(&container.cgroup), pid_namespace, own_pid_namespace };
        let keep = plan.descriptors();
        let mut plan = Some(plan);
        let launched = launch::launch(CloneFlags::NONE, &placement, keep, |channel| {
            if let Some(plan) = plan.take() {
                exec::run(plan, channel);
            }
        })?;
        drop(plan);
        let said = match launched.settle(&container.cgroup, &process) {
            Ok(warnings) => launch::listen(&launched.channel, true, async || Ok(()))
                .await
                .map(|said| launch::Conversation { warnings, ..said }),
            Err(failure) => Err(failure),
        };
        match said {
            Ok(said) => Ok(Created {
                pid: launched.pid,
                pidfd: Some(launched.pidfd),
                console: said.console,
                warnings: said.warnings,
                elsewhere: None,
            }),
            Err(failure) => {
                let _ = launched.pidfd.send_signal(libc::SIGKILL);
                Err(failure)
            }
        }
    }

    async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let container = self.container(id)?;
        if !all {
            return container.pidfd.send_signal(signal).map_err(|e| Failure::io("kill", id, &e));
        }
        if signal == libc::SIGKILL {
            return container.cgroup.kill_all().map_err(|e| cgroup_failure(&e));
        }
        for pid in self.pids(id)? {
            if let Ok(process) = PidFd::open(pid) {
                let _ = process.send_signal(signal);
            }
        }
        Ok(())
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.container(id)?.cgroup.freeze().map_err(|e| cgroup_failure(&e))
    }

    async fn resume(&self, id: &str) -> Result<()> {
        self.container(id)?.cgroup.thaw().map_err(|e| cgroup_failure(&e))
    }

    async fn update(&self, id: &str, limits: &Limits, _limits_json: &[u8]) -> Result<()> {
        self.container(id)?.cgroup.set(limits).map_err(|e| cgroup_failure(&e))
    }

    fn stats(&self, id: &str) -> Result<CgroupStats> {
        self.container(id)?.cgroup.stats().map_err(|e| cgroup_failure(&e))
    }

    fn pids(&self, id: &str) -> Result<Vec<i32>> {
        Ok(self.container(id)?.cgroup.pids().map_err(|e| cgroup_failure(&e))?.into_iter().collect())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let Some(container) = self.containers.borrow_mut().remove(id) else { return Ok(()) };
        if !container.pidfd.has_ended().unwrap_or(true) {
            let _ = container.cgroup.thaw();
            let _ = container.pidfd.send_signal(libc::SIGKILL);
            let _ = container.pidfd.wait_end(KILL_TIMEOUT);
        }
        if !container.cgroup.pids().unwrap_or_default().is_empty() {
            let _ = container.cgroup.thaw();
            let _ = container.cgroup.kill_all();
        }
        let removed = container.cgroup.remove().map_err(|e| cgroup_failure(&e));
        let state = hooks::state(&container.spec, id, &container.bundle, "stopped", 0);
        let hooks = hooks::run_outside("poststop", &container.spec.hooks.poststop, &state, &self.reaper).await;
        removed.and(hooks)
    }
}
