//! The child's side of a new container: a straight list of steps from the clone to the exec.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::Mode;
use sys::clone::{CloneFlags, Cloned, clone3, exit_now};
use sys::mount::{MountAttributes, Propagation};
use sys::namespace::NamespaceKind;
use sys::proc::ProcFs;
use sys::rooted::RootFd;

use super::channel::ChildEnd;
use super::devices::{self, DevicePlan};
use super::handshake::{FromChild, ToChild};
use super::mounts::{self, MountStep};
use super::process::{Prepared, ProcessPlan};
use super::{hooks, pid_one, raw};
use crate::oci::{NamespaceName, NamespaceSource, Spec};
use crate::runtime::{Failure, Result};

/// Everything the child needs, made ready by the shim.
#[derive(Debug)]
pub(super) struct InitPlan {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) spec: Rc<Spec>,
    /// Detached.
    pub(super) rootfs: OwnedFd,
    /// Where the root is attached while hooks look at it; `/` (covering it) when there are none.
    pub(super) root_at: PathBuf,
    pub(super) mounts: Vec<MountStep>,
    pub(super) devices: DevicePlan,
    pub(super) null: OwnedFd,
    /// Namespaces to enter, but for user and pid.
    pub(super) join: Vec<(NamespaceKind, OwnedFd)>,
    pub(super) userns: Option<OwnedFd>,
    /// New namespaces.
    pub(super) new: CloneFlags,
    pub(super) process: ProcessPlan,
    pub(super) terminal_size: Option<(u16, u16)>,
    /// Put our init in front.
    pub(super) init: bool,
}

/// The clone: ends in the user's program or in a message why not.
pub(super) fn run(plan: InitPlan, channel: ChildEnd) -> ! {
    let failure = match isolate(&plan, &channel) {
        Ok(()) => match prepare(plan, &channel) {
            Ok(failure) | Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    channel.fail(&failure);
    exit_now(1)
}

/// Enters and makes namespaces. With a user namespace a second clone is needed, since a process cannot make a PID
/// namespace for itself; the first one ends here.
fn isolate(plan: &InitPlan, channel: &ChildEnd) -> Result<()> {
    // Until exec this is a copy of the shim, that no process of the container may look into.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    for (kind, fd) in &plan.join {
        sys::namespace::enter(fd.as_fd(), *kind).map_err(|e| Failure::io("namespace", kind.proc_name(), &e))?;
    }
    let Some(userns) = &plan.userns else { return Ok(()) };
    let about = |e: io::Error| Failure::io("namespace", "user", &e);
    sys::namespace::enter(userns.as_fd(), NamespaceKind::User).map_err(about)?;
    // SAFETY: this process is a clone of the single-threaded shim and has one thread itself.
    #[expect(unsafe_code, reason = "clone3 in a process of one thread")]
    let cloned = unsafe { clone3(plan.new.union(CloneFlags::PARENT), None) }.map_err(about)?;
    match cloned {
        Cloned::Parent { pid, pidfd } => {
            channel.send_with(&FromChild::Pid(pid), pidfd.as_fd()).map_err(about)?;
            exit_now(0)
        }
        Cloned::Child => {
            let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
            raw::set_identity(0, 0, &[]).map_err(about)
        }
    }
}

fn prepare(mut plan: InitPlan, channel: &ChildEnd) -> Result<Failure> {
    rustix::process::setsid().map_err(|e| Failure::io("setsid", "", &e.into()))?;
    if plan.new.contains(CloneFlags::NEW_NET) {
        raw::loopback_up().map_err(|e| Failure::io("network", "lo", &e))?;
    }
    if plan.spec.namespace(NamespaceName::Uts) == NamespaceSource::New {
        raw::set_names(&plan.spec.hostname, &plan.spec.domainname)
            .map_err(|e| Failure::io("hostname", &plan.spec.hostname, &e))?;
    }
    rustix::process::umask(Mode::empty());
    let root = attach_root(&plan)?;
    let mut proc = None;
    for step in std::mem::take(&mut plan.mounts) {
        proc = mounts::attach(&root, step)?.or(proc);
    }
    let InitPlan { devices, spec, .. } = &mut plan;
    devices::make(&root, std::mem::take(devices))?;
    let spec = Rc::clone(spec);
    let terminal = open_terminal(&plan, &root, channel)?;
    run_hooks_before_pivot(&plan, channel)?;
    finish_root(&plan, &root)?;
    set_sysctls(&spec, proc)?;
    mounts::restrict(&root, &spec.linux.masked_paths, &spec.linux.readonly_paths, plan.null)?;
    channel.expect(ToChild::Go)?;
    if spec.namespace(NamespaceName::Cgroup) == NamespaceSource::New {
        sys::namespace::unshare(CloneFlags::NEW_CGROUP).map_err(|e| Failure::io("namespace", "cgroup", &e))?;
    }
    let prepared = plan.process.apply(&root, terminal)?;
    channel.send(&FromChild::Ready);
    channel.expect(ToChild::Start)?;
    let state = hooks::state(&spec, &plan.id, &plan.bundle, "created", own_pid());
    hooks::run_inside("startContainer", &spec.hooks.start_container, &state)?;
    raw::close_all_on_exec().map_err(|e| Failure::io("close descriptors", "", &e))?;
    Ok(if plan.init { pid_one::exec_below(prepared, channel) } else { exec(prepared) })
}

fn exec(prepared: Prepared) -> Failure {
    match sys::clone::reset_signals() {
        Ok(()) => prepared.exec(),
        Err(e) => Failure::io("signals", "", &e),
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Cuts this mount namespace off the host's and puts the root file system into it.
fn attach_root(plan: &InitPlan) -> Result<RootFd> {
    let about = |e: io::Error| Failure::io("rootfs", plan.root_at.display(), &e);
    sys::mount::change_propagation(Path::new("/"), Propagation::Private).map_err(about)?;
    sys::mount::attach_at(&plan.rootfs, &plan.root_at).map_err(about)?;
    let root = rustix::io::fcntl_dupfd_cloexec(&plan.rootfs, 3).map_err(|e| about(e.into()))?;
    Ok(RootFd::from_fd(root))
}

fn open_terminal(plan: &InitPlan, root: &RootFd, channel: &ChildEnd) -> Result<Option<OwnedFd>> {
    if !plan.process.wants_terminal() {
        return Ok(None);
    }
    let pty = devices::console(root)?;
    send_terminal(&pty, plan.terminal_size, channel)?;
    Ok(Some(pty.slave))
}

/// Sets the first size and sends the shim its end.
pub(super) fn send_terminal(pty: &sys::pty::Pty, size: Option<(u16, u16)>, channel: &ChildEnd) -> Result<()> {
    let about = |e: io::Error| Failure::io("console", "", &e);
    if let Some((width, height)) = size {
        sys::pty::set_size(&pty.master, width, height).map_err(about)?;
    }
    channel.send_with(&FromChild::Console, pty.master.as_fd()).map_err(about)
}

fn run_hooks_before_pivot(plan: &InitPlan, channel: &ChildEnd) -> Result<()> {
    let hooks = &plan.spec.hooks;
    if !hooks.before_pivot() {
        return Ok(());
    }
    channel.send(&FromChild::Hooks);
    channel.expect(ToChild::HooksDone)?;
    let state = hooks::state(&plan.spec, &plan.id, &plan.bundle, "creating", own_pid());
    hooks::run_inside("createContainer", &hooks.create_container, &state)
}

/// The root becomes `/`, with the attributes that it keeps.
fn finish_root(plan: &InitPlan, root: &RootFd) -> Result<()> {
    let about = |e: io::Error| Failure::io("rootfs", "", &e);
    if plan.spec.root.as_ref().is_some_and(|root| root.readonly) {
        if let Some(process) = &plan.spec.process {
            // Last chance to make the working folder.
            let _ = root.mkdir_all(&process.cwd, Mode::from_raw_mode(0o755), &mut |_| ());
        }
        let attributes = MountAttributes { set: MountAttributes::RDONLY, clear: 0 };
        sys::mount::set_attributes(root, false, attributes).map_err(about)?;
    }
    sys::mount::switch_root(root).map_err(|e| Failure::io("pivot_root", "", &e))?;
    let propagation = match plan.spec.linux.rootfs_propagation.as_str() {
        "" | "private" | "rprivate" => return Ok(()),
        "shared" | "rshared" => Propagation::Shared,
        "slave" | "rslave" => Propagation::Slave,
        "unbindable" | "runbindable" => Propagation::Unbindable,
        other => {
            let message = format!("linux.rootfsPropagation: {other:?} is no propagation");
            return Err(Failure::new("rootfs", message));
        }
    };
    sys::mount::set_propagation(root, false, propagation).map_err(about)
}

/// Writes sysctls through the container's own procfs mount by descriptor, before anything is laid over parts of it;
/// without one, through a procfs that nobody sees (CVE-2025-52881).
fn set_sysctls(spec: &Spec, proc: Option<OwnedFd>) -> Result<()> {
    if spec.linux.sysctl.is_empty() {
        return Ok(());
    }
    let about = |e: io::Error| Failure::io("sysctl", "", &e);
    let fd = match proc {
        Some(fd) => fd,
        None => sys::mount::new_filesystem("proc", &[], 0).map_err(about)?,
    };
    let proc = ProcFs::from_fd(fd).map_err(about)?;
    for (name, value) in &spec.linux.sysctl {
        proc.write_sysctl(name, value).map_err(|e| Failure::io("sysctl", format!("{name}={value}"), &e))?;
    }
    Ok(())
}

impl InitPlan {
    /// Descriptors that the child needs; all others are closed first thing.
    pub(super) fn descriptors(&self) -> Vec<i32> {
        let mut fds = vec![self.rootfs.as_raw_fd(), self.null.as_raw_fd()];
        fds.extend(self.mounts.iter().flat_map(MountStep::descriptors));
        fds.extend(self.devices.descriptors());
        fds.extend(self.join.iter().map(|(_, fd)| fd.as_raw_fd()));
        fds.extend(self.userns.as_ref().map(AsRawFd::as_raw_fd));
        fds.extend(self.process.descriptors());
        fds
    }
}
