//! `/dev` of a container: nodes, links and the console.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use sys::rooted::RootFd;

use super::mounts::open_strict_target;
use crate::oci::{Device, DeviceType, Spec};
use crate::runtime::{Failure, Result};

const STEP: &str = "device";

/// The devices that every container has (runtime-spec, "Default Devices"): name and minor number of major 1 or 5.
const DEFAULTS: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// What the child does about devices.
#[derive(Debug, Default)]
pub(super) struct DevicePlan {
    nodes: Vec<Node>,
    /// `/dev` is the container's own, so links may be made in it.
    own_dev: bool,
}

#[derive(Debug)]
struct Node {
    device: Device,
    /// In a user namespace: the host's node, to be bound, as mknod is refused there.
    host: Option<OwnedFd>,
}

impl DevicePlan {
    /// Descriptors that the child needs.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = i32> {
        self.nodes.iter().filter_map(|node| node.host.as_ref()).map(AsRawFd::as_raw_fd)
    }
}

/// Prepares the devices of the spec; `bind` in a user namespace.
pub(super) fn prepare(spec: &Spec, bind: bool) -> Result<DevicePlan> {
    let own_dev = !spec.mounts.iter().any(|m| {
        m.destination == Path::new("/dev") && (m.kind == "bind" || m.options.iter().any(|o| o.ends_with("bind")))
    });
    let mut devices: Vec<Device> = Vec::new();
    if own_dev {
        for (name, major, minor) in DEFAULTS {
            let path = Path::new("/dev").join(name);
            if !spec.linux.devices.iter().any(|d| d.path == path) {
                let (kind, major, minor) = (DeviceType::Char, *major, *minor);
                devices.push(Device { kind, path, major, minor, file_mode: Some(0o666), uid: 0, gid: 0 });
            }
        }
    }
    devices.extend(spec.linux.devices.iter().cloned());
    let nodes = devices.into_iter().map(|device| node(device, bind)).collect::<Result<Vec<_>>>()?;
    Ok(DevicePlan { nodes, own_dev })
}

fn node(device: Device, bind: bool) -> Result<Node> {
    if !bind || device.kind == DeviceType::Fifo {
        return Ok(Node { device, host: None });
    }
    let about = |e: io::Error| Failure::io(STEP, device.path.display(), &e);
    let host = sys::mount::clone_tree(&device.path, false).map_err(about)?;
    let stat = rustix::fs::fstat(&host).map_err(|e| about(e.into()))?;
    if stat.st_rdev != rustix::fs::makedev(device.major, device.minor) {
        let message =
            format!("device {}: the host's node is not {}:{}", device.path.display(), device.major, device.minor);
        return Err(Failure::new(STEP, message));
    }
    Ok(Node { device, host: Some(host) })
}

/// In the child, with umask 0: makes nodes and links.
pub(super) fn make(root: &RootFd, plan: DevicePlan) -> Result<()> {
    let dev = if plan.own_dev {
        Some(open_strict_target(root, Path::new("/dev")).map_err(|e| Failure::io(STEP, "/dev", &e))?)
    } else {
        None
    };
    for node in plan.nodes {
        let about = |e: io::Error| Failure::io(STEP, node.device.path.display(), &e);
        make_node(root, dev.as_ref(), &node).map_err(about)?;
    }
    match dev {
        Some(dev) => make_links(&dev).map_err(|e| Failure::io(STEP, "links in /dev", &e)),
        None => Ok(()),
    }
}

fn make_node(root: &RootFd, dev: Option<&OwnedFd>, node: &Node) -> io::Result<()> {
    let path = &node.device.path;
    let name: &OsStr = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let below: PathBuf;
    let folder;
    let at = match dev {
        Some(dev) if path.parent() == Some(Path::new("/dev")) => dev.as_fd(),
        _ => {
            below = path.parent().unwrap_or(Path::new("/")).to_owned();
            folder = root.mkdir_all(&below, Mode::from_raw_mode(0o755), &mut |_| ())?;
            folder.as_fd()
        }
    };
    if let Some(host) = &node.host {
        return bind_node(at, name, host);
    }
    let device = &node.device;
    let kind = match device.kind {
        DeviceType::Char => FileType::CharacterDevice,
        DeviceType::Block => FileType::BlockDevice,
        DeviceType::Fifo => FileType::Fifo,
    };
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    match rustix::fs::mknodat(at, name, kind, mode, rustix::fs::makedev(device.major, device.minor)) {
        Err(rustix::io::Errno::EXIST) => check_same(at, name, device)?,
        other => other?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
        rustix::fs::chownat(at, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// A node that the image brought is fine only when it is the same device.
fn check_same(at: impl AsFd, name: &OsStr, device: &Device) -> io::Result<()> {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if stat.st_rdev == rustix::fs::makedev(device.major, device.minor) || device.kind == DeviceType::Fifo {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"))
}

fn bind_node(at: impl AsFd, name: &OsStr, host: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
    drop(rustix::fs::openat(&at, name, flags, Mode::from_raw_mode(0o666))?);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    sys::mount::attach(host, target)
}

fn make_links(dev: &OwnedFd) -> io::Result<()> {
    for (name, target) in LINKS {
        link(dev, name, target)?;
    }
    // ptmx of the container's own devpts, never the host's.
    match rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    link(dev, "ptmx", "pts/ptmx")
}

fn link(dev: &OwnedFd, name: &str, target: &str) -> io::Result<()> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// In the child: opens a terminal of the container's devpts.
pub(super) fn terminal(root: &RootFd) -> Result<sys::pty::Pty> {
    let about = |e: io::Error| Failure::io("console", "in /dev/pts", &e);
    let pts = open_strict_target(root, Path::new("/dev/pts")).map_err(about)?;
    sys::pty::open_at(&pts, "ptmx").map_err(about)
}

/// In the child: opens a terminal and puts it at `/dev/console`. The slave is reached by descriptor only
/// (CVE-2025-52565).
pub(super) fn console(root: &RootFd) -> Result<sys::pty::Pty> {
    let about = |e: io::Error| Failure::io("console", "at /dev/console", &e);
    let pty = terminal(root)?;
    let dev = open_strict_target(root, Path::new("/dev")).map_err(about)?;
    let flags =
        OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(&dev, "console", flags, Mode::from_raw_mode(0o600));
    drop(file.map_err(|e| about(e.into()))?);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&dev, "console", flags, Mode::empty()).map_err(|e| about(e.into()))?;
    let slave = sys::mount::clone_tree_at(&pty.slave, false).map_err(about)?;
    sys::mount::attach(slave, target).map_err(about)?;
    Ok(pty)
}
