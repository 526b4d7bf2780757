//! The shim's side of making a process: prepare, clone, converse.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use sys::cgroup::Cgroup;
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::namespace::NamespaceKind;
use sys::pidfd::PidFd;
use sys::seccomp;

use super::channel::{self, ChildEnd, ParentEnd};
use super::handshake::{FromChild, ToChild};
use super::init::{self, InitPlan};
use super::process::{self, ProcessPlan};
use super::{devices, hooks, id_map, mounts, raw, rootfs};
use crate::oci::{NamespaceName, NamespaceSource, Spec};
use crate::reaper::Reaper;
use crate::runtime::{CreateRequest, Created, Failure, Result, root_path};

/// A child that has not answered by then is stuck (a hung network file system, say) and is killed.
const DEADLINE: Duration = Duration::from_secs(110);

/// Where the new process is put.
pub(super) struct Placement<'a> {
    pub(super) cgroup: Option<&'a Cgroup>,
    /// PID namespace to be born in; `None` is the shim's.
    pub(super) pid_namespace: Option<&'a OwnedFd>,
    /// The shim's own.
    pub(super) own_pid_namespace: &'a OwnedFd,
}

/// A clone in conversation.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) pidfd: PidFd,
    pub(super) channel: ParentEnd,
    /// It was born in its cgroup (v2).
    pub(super) in_cgroup: bool,
}

/// Clones, and runs `child` in the clone with its end of the channel and only the descriptors in `keep`.
pub(super) fn launch(
    flags: CloneFlags,
    placement: &Placement<'_>,
    mut keep: Vec<i32>,
    child: impl FnOnce(ChildEnd),
) -> Result<Launched> {
    let about = |e: io::Error| Failure::io("clone", "", &e);
    let (ours, theirs) = channel::pair().map_err(about)?;
    let folder = match placement.cgroup {
        Some(cgroup) => cgroup.dir_fd().map_err(|e| Failure::new("cgroup", e.to_string()))?,
        None => None,
    };
    keep.push(theirs.as_raw());
    let enter = |fd: &OwnedFd| sys::namespace::enter(fd.as_fd(), NamespaceKind::Pid);
    if let Some(namespace) = placement.pid_namespace {
        enter(namespace).map_err(|e| Failure::io("namespace", "pid", &e))?;
    }
    // SAFETY: the shim has one thread, for ever (main.rs says how that is kept).
    #[expect(unsafe_code, reason = "clone3 in a process of one thread")]
    let cloned = unsafe { clone3(flags, folder.as_ref().map(AsFd::as_fd)) };
    if let Ok(Cloned::Child) = cloned {
        if let Err(e) = raw::close_all_but(&mut keep) {
            theirs.fail(&Failure::io("close descriptors", "", &e));
        } else {
            child(theirs);
        }
        sys::clone::exit_now(1)
    }
    if placement.pid_namespace.is_some() {
        // A shim whose children are born in a container's namespace would be a danger to all others.
        if let Err(e) = enter(placement.own_pid_namespace) {
            panic!("return to the own PID namespace: {e}");
        }
    }
    match cloned.map_err(about)? {
        Cloned::Parent { pid, pidfd } => {
            Ok(Launched { pid, pidfd: PidFd::from_fd(pidfd), channel: ours, in_cgroup: folder.is_some() })
        }
        Cloned::Child => sys::clone::exit_now(1),
    }
}

impl Launched {
    /// Puts the process where it belongs and sets what only the shim may, then lets it go on.
    pub(super) fn settle(&self, cgroup: &Cgroup, process: &crate::oci::Process) -> Result<Vec<String>> {
        if !self.in_cgroup {
            cgroup.add(self.pid).map_err(|e| Failure::new("cgroup", e.to_string()))?;
        }
        process::set_rlimits(self.pid, process)?;
        let warning = process::set_oom_score(self.pid, process.oom_score_adj)?;
        // When it has failed already, its last message says why.
        let _ = self.channel.send(ToChild::Go);
        Ok(warning.into_iter().collect())
    }
}

/// What the child said until it was ready, or until it became the program.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) console: Option<OwnedFd>,
    pub(super) warnings: Vec<String>,
    /// It closed its end: the exec succeeded.
    pub(super) ended: bool,
}

/// Listens until `Ready` (or, with `until_exec`, until the exec). `hooks` is run when the child asks.
pub(super) async fn listen(
    channel: &ParentEnd,
    until_exec: bool,
    hooks: impl AsyncFn() -> Result<()>,
) -> Result<Conversation> {
    let mut said = Conversation::default();
    let talk = async {
        loop {
            let message = channel.receive().await.map_err(|e| Failure::io("handshake", "", &e))?;
            match message {
                None => {
                    said.ended = true;
                    return Ok(());
                }
                Some((FromChild::Ready, _)) if !until_exec => return Ok(()),
                Some((FromChild::Ready | FromChild::Pid(_), _)) => {}
                Some((FromChild::Console, console)) => said.console = console,
                Some((FromChild::Warning(text), _)) => said.warnings.push(text),
                Some((FromChild::Hooks, _)) => {
                    hooks().await?;
                    // When it has ended meanwhile, its last message says why.
                    let _ = channel.send(ToChild::HooksDone);
                }
                Some((FromChild::Failed { step, errno, message }, _)) => {
                    return Err(Failure { step, errno, message });
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, talk).await.unwrap_or_else(|_elapsed| {
        Err(Failure::new("start", format!("no answer from the new process within {DEADLINE:?}")))
    })?;
    Ok(said)
}

/// A container that was created.
pub(super) struct NewContainer {
    pub(super) created: Created,
    pub(super) channel: ParentEnd,
}

/// Makes a container's first process. On failure nothing of it is left but the cgroup, which is the caller's.
pub(super) async fn create(
    request: CreateRequest,
    cgroup: &Cgroup,
    filter: Option<Rc<seccomp::Program>>,
    own_pid_namespace: &OwnedFd,
    reaper: &Reaper,
) -> Result<NewContainer> {
    let spec = Rc::clone(&request.spec);
    let process = spec.process.as_ref().ok_or_else(|| Failure::new("config", "process: is required to create"))?;
    let (id, bundle) = (request.id.clone(), request.bundle.clone());
    let pid_namespace = open_namespace(&spec, NamespaceName::Pid)?;
    let plan = plan(request, cgroup, filter)?;
    let flags = if plan.userns.is_some() { CloneFlags::NONE } else { plan.new };
    let with_userns = plan.userns.is_some();
    let placement = Placement { cgroup: Some(cgroup), pid_namespace: pid_namespace.as_ref(), own_pid_namespace };
    let mut plan = Some(plan);
    let keep = plan.as_ref().map(InitPlan::descriptors).unwrap_or_default();
    let mut launched = launch(flags, &placement, keep, |channel| {
        if let Some(plan) = plan.take() {
            init::run(plan, channel);
        }
    })?;
    drop(plan);
    let result = converse(&mut launched, with_userns, &spec, &id, &bundle, cgroup, process, reaper).await;
    match result {
        Ok(said) if !said.ended => Ok(NewContainer {
            created: Created {
                pid: launched.pid,
                pidfd: Some(launched.pidfd),
                console: said.console,
                warnings: said.warnings,
                elsewhere: None,
            },
            channel: launched.channel,
        }),
        other => {
            let _ = launched.pidfd.send_signal(libc::SIGKILL);
            let _ = launched.pidfd.wait_end(Duration::from_secs(5));
            Err(other.err().unwrap_or_else(|| Failure::new("start", "the container's init ended early")))
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller; a struct of these would only be taken apart again")]
async fn converse(
    launched: &mut Launched,
    with_userns: bool,
    spec: &Spec,
    id: &str,
    bundle: &std::path::Path,
    cgroup: &Cgroup,
    process: &crate::oci::Process,
    reaper: &Reaper,
) -> Result<Conversation> {
    if with_userns {
        adopt(launched).await?;
    }
    let mut warnings = launched.settle(cgroup, process)?;
    let state = hooks::state(spec, id, bundle, "creating", launched.pid);
    let run_hooks = async || {
        hooks::run_outside("prestart", &spec.hooks.prestart, &state, reaper).await?;
        hooks::run_outside("createRuntime", &spec.hooks.create_runtime, &state, reaper).await
    };
    let mut said = listen(&launched.channel, false, run_hooks).await?;
    warnings.append(&mut said.warnings);
    said.warnings = warnings;
    Ok(said)
}

/// Messages that the new process may have sent before the one in between told who it is.
const EARLY_MAX: usize = 4;

/// Takes the process that the clone in between made in its place. Both send on one socket, in whichever order.
pub(super) async fn adopt(launched: &mut Launched) -> Result<()> {
    let lost = || Failure::new("namespace", "the process between ended without a word");
    let mut early = Vec::new();
    while early.len() < EARLY_MAX {
        let message = tokio::time::timeout(DEADLINE, launched.channel.receive()).await;
        let message = message.map_err(|_elapsed| lost())?.map_err(|e| Failure::io("handshake", "", &e))?;
        match message.ok_or_else(lost)? {
            (FromChild::Pid(_), Some(pidfd)) => {
                // The number by the descriptor: the sender may have counted in another PID namespace.
                launched.pid = pid_of(&pidfd).map_err(|e| Failure::io("namespace", "pid", &e))?;
                launched.pidfd = PidFd::from_fd(pidfd);
                launched.channel.keep(early);
                return Ok(());
            }
            (FromChild::Failed { step, errno, message }, _) => return Err(Failure { step, errno, message }),
            other => early.push(other),
        }
    }
    Err(lost())
}

fn pid_of(pidfd: &OwnedFd) -> io::Result<i32> {
    use std::os::fd::AsRawFd as _;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|rest| rest.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn open_namespace(spec: &Spec, name: NamespaceName) -> Result<Option<OwnedFd>> {
    match spec.namespace(name) {
        NamespaceSource::At(path) => {
            sys::namespace::open(path).map(Some).map_err(|e| Failure::io("namespace", path.display(), &e))
        }
        _ => Ok(None),
    }
}

fn plan(request: CreateRequest, cgroup: &Cgroup, filter: Option<Rc<seccomp::Program>>) -> Result<InitPlan> {
    let CreateRequest { id, bundle, spec, rootfs, stdio, terminal_size, no_new_keyring, init, shm, .. } = request;
    let userns = user_namespace(&spec)?;
    let root = root_path(&spec, &bundle);
    let root_at = if spec.hooks.before_pivot() { root.clone() } else { "/".into() };
    let rootfs = rootfs::prepare(&rootfs, &root)?.mount;
    let mounts = mounts::prepare(&spec, &bundle, cgroup, userns.as_ref().map(AsFd::as_fd), shm.as_ref())?;
    let devices = devices::prepare(&spec, userns.is_some())?;
    let join = joined(&spec)?;
    let new = new_namespaces(&spec);
    let keyring = (!no_new_keyring).then(|| keyring_name(&id)).flatten();
    let process = spec.process.as_ref().ok_or_else(|| Failure::new("config", "process: is required"))?;
    let process = ProcessPlan::new(process, filter, keyring, stdio)?;
    let null = mounts::null_device()?;
    let plan = InitPlan {
        id,
        bundle,
        spec,
        rootfs,
        root_at,
        mounts,
        devices,
        null,
        join,
        userns,
        new,
        process,
        terminal_size,
        init,
    };
    Ok(plan)
}

/// runc's name for it, so that people find what they know in `/proc/keys`.
fn keyring_name(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{id}")).ok()
}

fn user_namespace(spec: &Spec) -> Result<Option<OwnedFd>> {
    match spec.namespace(NamespaceName::User) {
        NamespaceSource::Inherited => Ok(None),
        NamespaceSource::New => id_map::user_namespace(&spec.linux.uid_mappings, &spec.linux.gid_mappings).map(Some),
        NamespaceSource::At(_) => open_namespace(spec, NamespaceName::User),
    }
}

const JOINABLE: [NamespaceName; 4] =
    [NamespaceName::Network, NamespaceName::Ipc, NamespaceName::Uts, NamespaceName::Cgroup];

fn joined(spec: &Spec) -> Result<Vec<(NamespaceKind, OwnedFd)>> {
    let mut fds = Vec::new();
    for name in JOINABLE {
        if let Some(fd) = open_namespace(spec, name)? {
            fds.push((name.kind(), fd));
        }
    }
    Ok(fds)
}

/// The cgroup namespace is not among them: it has to be made after the move to the cgroup.
fn new_namespaces(spec: &Spec) -> CloneFlags {
    let names =
        [NamespaceName::Mount, NamespaceName::Pid, NamespaceName::Network, NamespaceName::Ipc, NamespaceName::Uts];
    names
        .into_iter()
        .filter(|name| spec.namespace(*name) == NamespaceSource::New)
        .fold(CloneFlags::NONE, |flags, name| flags.union(name.kind().clone_flag()))
}
