//! Namespaces of a sandbox without a pause container: a clone makes them, the shim keeps them by descriptor, and the
//! clone ends at once, or stays as the init of a shared PID namespace.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use sys::cgroup::{Cgroup, Limits};
use sys::clone::{CloneFlags, Cloned, clone3, exit_now};
use sys::mount::{MountAttributes, Parameter, Propagation};
use sys::namespace::NamespaceKind;
use sys::pidfd::PidFd;
use sys::proc::ProcFs;

use super::channel::ChildEnd;
use super::handshake::{FromChild, ToChild};
use super::launch::{self, Placement};
use super::{pid_one, raw};
use crate::runtime::{Failure, Result};

/// What to hold.
#[derive(Debug, Default)]
pub(crate) struct HoldRequest {
    /// Namespaces to make.
    pub(crate) new: Vec<NamespaceKind>,
    /// Network namespace that exists already, for its sysctls.
    pub(crate) network: Option<OwnedFd>,
    /// User namespace that owns the new ones.
    pub(crate) user: Option<OwnedFd>,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Hold a tmpfs of so many bytes, as the root of a mount namespace in which nothing else is.
    pub(crate) shm_bytes: Option<u64>,
    /// Made for the init of a PID namespace, and joined by it.
    pub(crate) cgroup: Option<Rc<Cgroup>>,
}

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The namespaces by descriptor, but for user and a given network.
    pub(crate) namespaces: Vec<(NamespaceKind, OwnedFd)>,
    /// The init of the PID namespace.
    pub(crate) init: Option<(i32, PidFd)>,
}

pub(super) async fn hold(request: HoldRequest, own_pid_namespace: &OwnedFd) -> Result<Held> {
    let mut kinds = request.new.clone();
    kinds.extend(request.shm_bytes.map(|_| NamespaceKind::Mount));
    if kinds.is_empty() && request.sysctls.is_empty() {
        return Ok(Held::default());
    }
    let flags = kinds.iter().fold(CloneFlags::NONE, |flags, kind| flags.union(kind.clone_flag()));
    let with_user = request.user.is_some();
    let placement = Placement { cgroup: None, pid_namespace: None, own_pid_namespace };
    let keep = [&request.network, &request.user].into_iter().flatten().map(|fd| fd.as_raw_fd()).collect();
    let first = if with_user { CloneFlags::NONE } else { flags };
    let cgroup = request.cgroup.as_ref().filter(|_| kinds.contains(&NamespaceKind::Pid)).cloned();
    let mut request = Some(request);
    let mut launched = launch::launch(first, &placement, keep, |channel| {
        if let Some(request) = request.take() {
            run(&request, flags, &channel);
        }
    })?;
    if with_user {
        launch::adopt(&mut launched).await?;
    }
    let said = launch::listen(&launched.channel, false, async || Ok(())).await?;
    if said.ended {
        return Err(Failure::new("sandbox", "the process that makes the namespaces ended early"));
    }
    let mut held = Held::default();
    for kind in &kinds {
        let fd = sys::namespace::of_process(launched.pid, *kind)
            .map_err(|e| Failure::io("namespace", kind.proc_name(), &e))?;
        held.namespaces.push((*kind, fd));
    }
    if let Some(cgroup) = cgroup {
        let joined = cgroup.create(&Limits::default()).and_then(|()| cgroup.add(launched.pid));
        joined.map_err(|e| Failure::new("cgroup", format!("of the sandbox: {e}")))?;
    }
    launched.channel.send(ToChild::Start).map_err(|e| Failure::io("sandbox", "", &e))?;
    if kinds.contains(&NamespaceKind::Pid) {
        held.init = Some((launched.pid, launched.pidfd));
    }
    Ok(held)
}

/// The clone.
fn run(request: &HoldRequest, flags: CloneFlags, channel: &ChildEnd) -> ! {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    if let Err(failure) = set_up(request, flags, channel) {
        channel.fail(&failure);
        exit_now(1);
    }
    channel.send(&FromChild::Ready);
    if channel.expect(ToChild::Start).is_err() || !request.new.contains(&NamespaceKind::Pid) {
        exit_now(0);
    }
    let _ = raw::close_all_but(&mut Vec::new());
    let _ = rustix::thread::set_name(c"gantry-init");
    let _ = rustix::process::chdir("/");
    pid_one::serve_namespace()
}

fn set_up(request: &HoldRequest, flags: CloneFlags, channel: &ChildEnd) -> Result<()> {
    let about = |e: io::Error| Failure::io("sandbox", "namespaces", &e);
    let is_net = |name: &str| name.starts_with("net.") || name.starts_with("net/");
    if let Some(network) = &request.network {
        sys::namespace::enter(network.as_fd(), NamespaceKind::Network).map_err(about)?;
        // Before the user namespace is entered, which need not own this network namespace.
        write_sysctls(request.sysctls.iter().filter(|(name, _)| is_net(name)))?;
    }
    if let Some(user) = &request.user {
        sys::namespace::enter(user.as_fd(), NamespaceKind::User).map_err(about)?;
        // SAFETY: this process is a clone of the single-threaded shim and has one thread itself.
        #[expect(unsafe_code, reason = "clone3 in a process of one thread")]
        let cloned = unsafe { clone3(flags.union(CloneFlags::PARENT), None) }.map_err(about)?;
        if let Cloned::Parent { pid, pidfd } = cloned {
            channel.send_with(&FromChild::Pid(pid), pidfd.as_fd()).map_err(about)?;
            exit_now(0);
        }
        raw::set_identity(0, 0, &[]).map_err(about)?;
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    rustix::process::setsid().map_err(|e| about(e.into()))?;
    if request.new.contains(&NamespaceKind::Network) {
        raw::loopback_up().map_err(|e| Failure::io("sandbox", "lo", &e))?;
    }
    if request.new.contains(&NamespaceKind::Uts) {
        raw::set_names(&request.hostname, &request.domainname)
            .map_err(|e| Failure::io("hostname", &request.hostname, &e))?;
    }
    let given = request.network.is_some();
    write_sysctls(request.sysctls.iter().filter(|(name, _)| !(given && is_net(name))))?;
    match request.shm_bytes {
        Some(bytes) => make_shm(bytes).map_err(|e| Failure::io("sandbox", "/dev/shm", &e)),
        None => Ok(()),
    }
}

/// Makes a tmpfs the only mount of this mount namespace. It is in nobody's mount table, and whoever holds the namespace
/// can make copies of it, on any kernel (a detached mount itself cannot be copied before Linux 6.15).
fn make_shm(bytes: u64) -> io::Result<()> {
    let size = bytes.to_string();
    let parameters =
        [Parameter::Text("source", b"shm"), Parameter::Text("mode", b"1777"), Parameter::Text("size", size.as_bytes())];
    let attributes = MountAttributes::NOSUID | MountAttributes::NODEV | MountAttributes::NOEXEC;
    let root = Path::new("/");
    sys::mount::change_propagation(root, Propagation::Private)?;
    let made = sys::mount::new_filesystem("tmpfs", &parameters, attributes)?;
    sys::mount::attach_at(&made, root)?;
    sys::mount::switch_root(&made)
}

fn write_sysctls<'a>(sysctls: impl Iterator<Item = (&'a String, &'a String)>) -> Result<()> {
    let mut proc = None;
    for (name, value) in sysctls {
        if proc.is_none() {
            proc = Some(ProcFs::host().map_err(|e| Failure::io("sysctl", "/proc", &e))?);
        }
        if let Some(proc) = &proc {
            proc.write_sysctl(name, value).map_err(|e| Failure::io("sysctl", format!("{name}={value}"), &e))?;
        }
    }
    Ok(())
}
