//! The new mount API: mounts are made, changed and copied as descriptors that no mount table shows, and attached last.
#![expect(unsafe_code, reason = "mount_setattr is not in rustix")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::namespace::{self, NamespaceKind};
use crate::rooted::RootFd;

/// How events travel between a mount and its copies (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// Both ways.
    Shared,
    /// Into this mount only.
    Slave,
    /// Not at all, and it cannot be bind-mounted.
    Unbindable,
}

impl Propagation {
    const fn flags(self) -> MountPropagationFlags {
        match self {
            Self::Private => MountPropagationFlags::PRIVATE,
            Self::Shared => MountPropagationFlags::SHARED,
            Self::Slave => MountPropagationFlags::DOWNSTREAM,
            Self::Unbindable => MountPropagationFlags::UNBINDABLE,
        }
    }
}

/// Attributes of a mount: what is switched on and what off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountAttributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl MountAttributes {
    /// `MOUNT_ATTR_RDONLY`
    pub const RDONLY: u64 = 0x1;
    /// `MOUNT_ATTR_NOSUID`
    pub const NOSUID: u64 = 0x2;
    /// `MOUNT_ATTR_NODEV`
    pub const NODEV: u64 = 0x4;
    /// `MOUNT_ATTR_NOEXEC`
    pub const NOEXEC: u64 = 0x8;
    /// `MOUNT_ATTR__ATIME`, the field of the next three.
    pub const ATIME_MASK: u64 = 0x70;
    /// `MOUNT_ATTR_RELATIME`
    pub const RELATIME: u64 = 0;
    /// `MOUNT_ATTR_NOATIME`
    pub const NOATIME: u64 = 0x10;
    /// `MOUNT_ATTR_STRICTATIME`
    pub const STRICTATIME: u64 = 0x20;
    /// `MOUNT_ATTR_NODIRATIME`
    pub const NODIRATIME: u64 = 0x80;
    /// `MOUNT_ATTR_NOSYMFOLLOW`
    pub const NOSYMFOLLOW: u64 = 0x20_0000;

    /// Switches `bit` on.
    pub fn add(&mut self, bit: u64) {
        self.set |= bit;
        self.clear &= !bit;
    }

    /// Switches `bit` off.
    pub fn remove(&mut self, bit: u64) {
        self.clear |= bit;
        self.set &= !bit;
    }

    /// Chooses how access times are kept.
    pub fn atime(&mut self, choice: u64) {
        self.set = (self.set & !Self::ATIME_MASK) | choice;
        self.clear |= Self::ATIME_MASK;
    }

    /// Whether nothing is asked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
#[derive(Default)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_RECURSIVE: u32 = 0x8000;

fn setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &RawMountAttr) -> io::Result<()> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let empty: &CStr = c"";
    // SAFETY: the kernel reads the empty string and `attr` of the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<RawMountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Changes attributes of a mount, and with `recursive` of all mounts below it.
///
/// # Errors
/// Those of `mount_setattr`.
pub fn set_attributes(mount: impl AsFd, recursive: bool, attributes: MountAttributes) -> io::Result<()> {
    let attr = RawMountAttr { attr_set: attributes.set, attr_clr: attributes.clear, ..RawMountAttr::default() };
    setattr(mount.as_fd(), recursive, &attr)
}

/// Changes a mount's propagation, and with `recursive` that of all mounts below it.
///
/// # Errors
/// Those of `mount_setattr`.
pub fn set_propagation(mount: impl AsFd, recursive: bool, propagation: Propagation) -> io::Result<()> {
    let attr = RawMountAttr { propagation: u64::from(propagation.flags().bits()), ..RawMountAttr::default() };
    setattr(mount.as_fd(), recursive, &attr)
}

/// Maps the ids of a detached mount as user namespace `userns` does.
///
/// # Errors
/// Those of `mount_setattr`; `EINVAL` where the file system cannot be id-mapped.
pub fn set_id_map(mount: impl AsFd, recursive: bool, userns: BorrowedFd<'_>) -> io::Result<()> {
    let attr = RawMountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        userns_fd: u64::try_from(userns.as_raw_fd()).unwrap_or(u64::MAX),
        ..RawMountAttr::default()
    };
    setattr(mount.as_fd(), recursive, &attr)
}

/// One parameter of a new file system instance.
#[derive(Debug, Clone, Copy)]
pub enum Parameter<'a> {
    /// A bare word.
    Flag(&'a str),
    /// `key=value`.
    Text(&'a str, &'a [u8]),
    /// A descriptor as value (overlayfs' layers).
    Fd(&'a str, BorrowedFd<'a>),
}

/// Makes a new file system instance and mounts it, detached.
///
/// # Errors
/// Those of `fsopen`, `fsconfig` and `fsmount`, with the kernel's own explanation where it has one.
pub fn new_filesystem(kind: &str, parameters: &[Parameter<'_>], attributes: u64) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let explain = |e: rustix::io::Errno| explain(&context, e);
    for parameter in parameters {
        match parameter {
            Parameter::Flag(key) => rustix::mount::fsconfig_set_flag(&context, *key),
            Parameter::Text(key, value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            Parameter::Fd(key, fd) => rustix::mount::fsconfig_set_fd(&context, *key, fd),
        }
        .map_err(explain)?;
    }
    rustix::mount::fsconfig_create(&context).map_err(explain)?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// The error with the message that the kernel left in the context's log (`e lowerdir: ...`).
fn explain(context: &OwnedFd, error: rustix::io::Errno) -> io::Error {
    let plain = io::Error::from(error);
    let mut message = [0_u8; 512];
    match rustix::io::read(context, &mut message) {
        Ok(len) if len > 2 => {
            let text = String::from_utf8_lossy(&message[2..len]).trim_end().to_owned();
            io::Error::new(plain.kind(), format!("{plain} ({text})"))
        }
        _ => plain,
    }
}

/// Copies the mount at `path` (symlinks followed, of this process's root) as a detached mount; with `recursive` the
/// mounts below it too. The copy propagates as the original does.
///
/// # Errors
/// Those of `open_tree`.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(CWD, path, clone_flags(recursive))?)
}

/// Copies the mount tree at an open descriptor, which may be a file or a folder within a mount.
///
/// # Errors
/// Those of `open_tree`.
pub fn clone_tree_at(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(fd, c"", flags)?)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Copies the mount at `path` of another mount namespace as a detached one. Symlinks are followed below that
/// namespace's root. The process must have one thread: it is in that namespace for a moment.
///
/// # Errors
/// Those of `setns`, `openat2` and `open_tree`.
///
/// # Panics
/// Aborts when the way back is refused: a process must not go on among another's files.
pub fn clone_from(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let place = |path: &std::ffi::CStr| -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    };
    let (own, root, folder) = (namespace::own(NamespaceKind::Mount)?, place(c"/")?, place(c".")?);
    namespace::enter(namespace, NamespaceKind::Mount)?;
    let cloned = RootFd::open(Path::new("/"))
        .and_then(|root| root.open_file(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()))
        .and_then(|at| clone_tree_at(&at, false));
    let back = namespace::enter(own.as_fd(), NamespaceKind::Mount)
        .and_then(|()| Ok(rustix::process::fchdir(&root)?))
        .and_then(|()| Ok(rustix::process::chroot(c".")?))
        .and_then(|()| Ok(rustix::process::fchdir(&folder)?));
    if back.is_err() {
        std::process::abort();
    }
    cloned
}

/// Attaches a detached mount onto what `target` is open at. Nothing is resolved by name.
///
/// # Errors
/// Those of `move_mount`.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// Attaches a detached mount at a path that this process trusts.
///
/// # Errors
/// Those of `move_mount`.
pub fn attach_at(mount: impl AsFd, path: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Changes how the mount at `path` and all below it propagate.
///
/// # Errors
/// Those of `mount`.
pub fn change_propagation(path: &Path, propagation: Propagation) -> io::Result<()> {
    Ok(rustix::mount::mount_change(path, propagation.flags() | MountPropagationFlags::REC)?)
}

/// Makes `new_root`, a mount, the root of this process's mount namespace and detaches the old one with all below it.
///
/// # Errors
/// Those of `pivot_root` and `umount`.
pub fn switch_root(new_root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(new_root)?;
    // Both names are ".": the old root is stacked on the new one, which saves a folder to put it in (pivot_root(2)).
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Detaches the mount at `path`, lazily.
///
/// # Errors
/// Those of `umount`.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}
