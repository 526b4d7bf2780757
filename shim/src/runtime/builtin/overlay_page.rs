//! Overlays on kernels before 6.5: no `lowerdir+` there, and a parameter of `fsconfig` ends at 255 bytes. mount(2) takes
//! a page of options, which holds 128 layers when each is named by a descriptor.
//!
//! mount(2) can only attach to a mount table, so that it is done in a clone with a table of its own; a detached copy of
//! the mount comes back over a socket, and the clone ends with its table.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use sys::clone::{CloneFlags, Cloned, clone3, exit_now};
use sys::mount::{MountAttributes, Propagation};
use sys::pidfd::PidFd;

use super::channel::receive_descriptor;
use super::raw;

/// Bytes of options that mount(2) takes.
const PAGE_BYTES: usize = 4096;

/// What an overlay is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overlay<'a> {
    /// Highest layer first.
    pub(super) layers: &'a [PathBuf],
    /// Upper and work directory, both in one folder.
    pub(super) writable: Option<(&'a Path, &'a Path)>,
    /// Further options as overlayfs has them.
    pub(super) options: &'a [String],
    /// Attributes of the mount (`MOUNT_ATTR_*`).
    pub(super) attributes: u64,
    /// Id-mapped copies, and the directories above that each stands for, in the order in which they are attached:
    /// before 6.15 overlayfs takes nothing of a mount that is detached.
    pub(super) mapped: &'a [(OwnedFd, PathBuf)],
    /// User and group who makes the mount.
    pub(super) identity: Option<(u32, u32)>,
}

/// Makes the overlay as a detached mount.
///
/// # Errors
/// `E2BIG` when its options do not fit in a page; else those of `mount` and `open_tree`.
pub(super) fn detached(overlay: Overlay<'_>) -> io::Result<OwnedFd> {
    let target = overlay.layers.first().ok_or(io::ErrorKind::InvalidInput)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the shim has one thread (main.rs), and the child only mounts, sends and ends.
    #[expect(unsafe_code, reason = "clone3 in a process of one thread")]
    let cloned = unsafe { clone3(CloneFlags::NEW_MOUNT, None) }?;
    let Cloned::Parent { pidfd, .. } = cloned else {
        let sent = mount_and_copy(target, overlay).and_then(|mount| send(&theirs, &mount));
        exit_now(sent.err().and_then(|e| e.raw_os_error()).unwrap_or(0));
    };
    drop(theirs);
    let received = receive_descriptor(ours.as_fd());
    // The reaper may have been faster.
    let ended = PidFd::from_fd(pidfd).reap();
    let mount = received.map_err(|e| match ended {
        Ok(status) if status > 0 => io::Error::from_raw_os_error(i32::try_from(status).unwrap_or(libc::EIO)),
        _ => e,
    })?;
    if overlay.attributes != 0 {
        let attributes = MountAttributes { set: overlay.attributes, ..MountAttributes::default() };
        sys::mount::set_attributes(&mount, false, attributes)?;
    }
    Ok(mount)
}

/// In the clone: mounts over a layer, which nobody else sees, and copies the mount off.
fn mount_and_copy(target: &Path, overlay: Overlay<'_>) -> io::Result<OwnedFd> {
    sys::mount::change_propagation(Path::new("/"), Propagation::Private)?;
    // Opened here: overlayfs takes only directories of its own mount namespace.
    for (mapped, path) in overlay.mapped {
        sys::mount::attach_at(mapped, path)?;
    }
    let mut open = Vec::new();
    let data = options(overlay, &mut open)?;
    let at = rustix::fs::open(target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let at = format!("/proc/self/fd/{}", at.as_raw_fd());
    let make = || rustix::mount::mount(c"overlay", at.as_str(), c"overlay", MountFlags::empty(), Some(data.as_c_str()));
    match overlay.identity {
        None => make(),
        Some((user, group)) => raw::with_fs_identity(user, group, make)?,
    }?;
    sys::mount::clone_tree(target, false)
}

fn send(socket: &OwnedFd, mount: &OwnedFd) -> io::Result<()> {
    let fds = [mount.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The options, with every directory named by a descriptor that is added to `open`.
fn options(overlay: Overlay<'_>, open: &mut Vec<OwnedFd>) -> io::Result<CString> {
    let mut named = |path: &Path| -> io::Result<String> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        open.push(fd);
        Ok(name)
    };
    let layers = overlay.layers.iter().map(|layer| named(layer)).collect::<io::Result<Vec<_>>>()?;
    let mut text = format!("lowerdir={}", layers.join(":"));
    if let Some((upper, work)) = overlay.writable {
        text.push_str(&format!(",upperdir={},workdir={}", named(upper)?, named(work)?));
    }
    for option in overlay.options {
        text.push(',');
        text.push_str(option);
    }
    if text.len() >= PAGE_BYTES {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    CString::new(text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_many_layers_fit_in_a_page_and_too_many_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let count = |n: usize| {
            let layers = vec![dir.path().to_owned(); n];
            let overlay =
                Overlay { layers: &layers, writable: None, options: &[], attributes: 0, mapped: &[], identity: None };
            options(overlay, &mut Vec::new()).map(|text| text.as_bytes().len())
        };
        assert!(count(128).unwrap() < PAGE_BYTES);
        assert_eq!(count(600).unwrap_err().raw_os_error(), Some(libc::E2BIG));
    }
}
