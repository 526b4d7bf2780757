//! Overlays as detached mounts, on kernels that take layers one by one (`lowerdir+`, Linux 6.5) and on older ones, where
//! only mount(2) takes more than 255 bytes of layers: up to a page.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use crate::clone::CloneFlags;
use crate::mount::{MountAttributes, Parameter, Propagation, change_propagation, clone_tree, new_filesystem};

/// Bytes of options that mount(2) takes.
const PAGE_BYTES: usize = 4096;

/// Stacks `layers`, the topmost first, as a read-only overlay that no mount table shows.
///
/// # Errors
/// Those of `fsopen`, `fsconfig` and `fsmount`; on kernels before 6.5 `E2BIG` for more than about 128 layers.
pub fn read_only(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    let bytes = layers.iter().map(|layer| layer.as_os_str().as_encoded_bytes());
    let parameters: Vec<Parameter<'_>> = bytes.map(|layer| Parameter::Text("lowerdir+", layer)).collect();
    match new_filesystem("overlay", &parameters, MountAttributes::RDONLY) {
        // The kernel does not know the key, or something else is wrong and is so the other way too.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            by_page(layers).map_err(|second| if second.raw_os_error() == Some(libc::E2BIG) { second } else { error })
        }
        other => other,
    }
}

/// mount(2) can only attach to a mount table: it is done in a thread with a table of its own, which ends with the thread.
fn by_page(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            crate::namespace::unshare(CloneFlags::NEW_MOUNT)?;
            change_propagation(Path::new("/"), Propagation::Private)?;
            let target = layers.first().ok_or(io::ErrorKind::InvalidInput)?;
            // Opened here: overlayfs takes only directories of its own mount namespace.
            let open = |layer: &PathBuf| -> io::Result<OwnedFd> {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(rustix::fs::open(layer, flags, Mode::empty())?)
            };
            let open = layers.iter().map(open).collect::<io::Result<Vec<OwnedFd>>>()?;
            let names: Vec<String> = open.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
            let data = format!("lowerdir={}", names.join(":"));
            if data.len() >= PAGE_BYTES {
                return Err(io::Error::from_raw_os_error(libc::E2BIG));
            }
            let data = CString::new(data).map_err(io::Error::other)?;
            rustix::mount::mount(c"overlay", target, c"overlay", MountFlags::RDONLY, Some(data.as_c_str()))?;
            clone_tree(target, false)
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts layers panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_show_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
        for (n, layer) in layers.iter().enumerate() {
            std::fs::create_dir(layer).unwrap();
            std::fs::write(layer.join("which"), n.to_string()).unwrap();
            std::fs::write(layer.join(format!("only-{n}")), "").unwrap();
        }
        for mounted in [read_only(&layers), by_page(&layers)] {
            let mounted = mounted.expect("overlayfs, and root");
            let at = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
            assert_eq!(std::fs::read_to_string(at.join("which")).unwrap(), "0", "the first is on top");
            assert!((0..3).all(|n| at.join(format!("only-{n}")).exists()));
            assert!(std::fs::write(at.join("new"), "").is_err(), "read-only");
        }
    }
}
