//! Reading a container's root file system without running it: a detached, read-only mount that no table shows.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use sys::rooted::RootFd;

use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::snapshot::{Mount, SnapshotKey};

/// Bytes of /etc/passwd or /etc/group that are read.
const USER_FILE_BYTES_MAX: u64 = 1 << 20;

/// The texts of an image's or a container's /etc/passwd and /etc/group; empty where there is no such file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserFiles {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

/// Opens what `mounts` stack, read-only. A writable layer counts as the topmost read-only one, so this is safe beside
/// a running container.
pub(crate) fn open(mounts: &[Mount]) -> Result<OwnedFd> {
    let layers = layers(mounts)?;
    let named = |e: std::io::Error| Error::from(e).context("open the layers of a root file system");
    if let [only] = layers.as_slice() {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        return rustix::fs::open(only, flags, Mode::empty()).map_err(|e| named(e.into()));
    }
    sys::overlay::read_only(&layers).map_err(named)
}

/// The directories that `mounts` stack, topmost first.
pub(crate) fn layers(mounts: &[Mount]) -> Result<Vec<PathBuf>> {
    let [mount] = mounts else {
        return Err(Error::not_implemented("a root file system of several mounts"));
    };
    if mount.kind == "bind" {
        return Ok(vec![mount.source.clone().into()]);
    }
    let mut layers = Vec::new();
    for option in &mount.options {
        if let Some(upper) = option.strip_prefix("upperdir=") {
            layers.insert(0, PathBuf::from(upper));
        } else if let Some(lowers) = option.strip_prefix("lowerdir=") {
            layers.extend(lowers.split(':').filter(|l| !l.is_empty()).map(PathBuf::from));
        }
    }
    if layers.is_empty() {
        return Err(Error::internal(format!("a {} mount without layers", mount.kind)));
    }
    Ok(layers)
}

/// The user files that a container sees now: its image's, from memory after the first time, unless it has changed its
/// own.
pub(crate) fn user_files(core: &Core, key: &SnapshotKey, image: ImageId) -> Result<Arc<UserFiles>> {
    let upper = core.snapshots.upper_dir(key)?;
    if upper.as_deref().is_some_and(changes_user_files) {
        return read(&core.snapshots.mounts(key)?).map(Arc::new);
    }
    if let Some(files) = core.user_files.get(&image) {
        return Ok(files);
    }
    let files = Arc::new(read(&core.snapshots.mounts(key)?)?);
    core.user_files.put(image, Arc::clone(&files));
    Ok(files)
}

/// Whether a writable layer may hold other user files than the image. Its content is the container's: no link in it
/// is followed.
fn changes_user_files(upper: &Path) -> bool {
    let etc = upper.join("etc");
    match std::fs::symlink_metadata(&etc) {
        Err(_) => false,
        Ok(meta) if !meta.is_dir() => true,
        Ok(_) => ["passwd", "group"].iter().any(|name| std::fs::symlink_metadata(etc.join(name)).is_ok()),
    }
}

fn read(mounts: &[Mount]) -> Result<UserFiles> {
    read_user_files(&RootFd::from_fd(open(mounts)?))
}

/// The user files under a root.
pub(crate) fn read_user_files(root: &RootFd) -> Result<UserFiles> {
    Ok(UserFiles { passwd: text(root, "etc/passwd")?, group: text(root, "etc/group")? })
}

fn text(root: &RootFd, path: &str) -> Result<String> {
    // Non-blocking: an image may have a FIFO in this place.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match root.open_file(Path::new(path), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::debug!(path, %error, "no such user file in the image");
            return Ok(String::new());
        }
    };
    let file = std::fs::File::from(fd);
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(USER_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_off_the_mount_topmost_first() {
        let mount = Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            options: vec!["lowerdir=/b:/a".into(), "upperdir=/up".into(), "workdir=/w".into()],
        };
        assert_eq!(layers(&[mount]).unwrap(), [PathBuf::from("/up"), "/b".into(), "/a".into()]);
        assert!(layers(&[]).is_err());
    }

    #[test]
    fn a_replaced_etc_counts_as_changed_user_files() {
        let upper = tempfile::tempdir().unwrap();
        assert!(!changes_user_files(upper.path()));
        std::fs::create_dir(upper.path().join("etc")).unwrap();
        assert!(!changes_user_files(upper.path()));
        std::os::unix::fs::symlink("/host", upper.path().join("etc/passwd")).unwrap();
        assert!(changes_user_files(upper.path()));
    }
}
