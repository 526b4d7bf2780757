//! What a container has changed in its file system: `diff`.
//!
//! The writable layer is read beside the layers below it, name by name. What the runtime made there itself (the places
//! of /etc/hosts and the like) is nobody's change.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, OFlags, Stat};
use sys::rooted::{Dir, RootFd};

use crate::container::{ContainerHandle, rootfs};
use crate::error::{Error, Result};
use crate::snapshot::{Mount, SnapshotKey};

/// Levels that are looked at; deeper trees are refused.
const DEPTH_MAX: usize = 512;
/// Changes of one container that are told.
const CHANGES_MAX: usize = 4 << 20;
const XATTR_OPAQUE: &str = "trusted.overlay.opaque";
/// Empty files that the runtime makes to mount on.
const RUNTIME_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];
/// Empty directories that the runtime makes to mount on, and the one for the files.
const RUNTIME_DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another one now.
    Modified,
    /// The image has none.
    Added,
    /// The image's is gone.
    Deleted,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute path.
    pub path: String,
    /// What became of it.
    pub kind: ChangeKind,
}

/// See [`ContainerHandle::changes`].
pub(super) async fn changes(container: &ContainerHandle) -> Result<Vec<Change>> {
    let key: SnapshotKey = container.id().as_str().parse()?;
    let mounts = container.core.snapshots.mounts(&key)?;
    let upper = container.core.snapshots.upper_dir(&key)?;
    let upper = upper.ok_or_else(|| Error::internal("a container without a writable layer"))?;
    let work = move || {
        let upper = RootFd::open(&upper)?.open_dir(std::path::Path::new(""))?;
        let lower = Dir::from_fd(rootfs::open(&lower_only(&mounts))?);
        let mut found = Comparison { changes: Vec::new(), made: runtime_made(&upper) };
        found.directory(&upper, Some(&lower), &[], DEPTH_MAX)?;
        Ok(found.changes)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("compare layers").with_source(e))?
}

/// The same stack without what is written.
fn lower_only(mounts: &[Mount]) -> Vec<Mount> {
    let mut mounts = mounts.to_vec();
    for mount in &mut mounts {
        mount.options.retain(|option| option.starts_with("lowerdir="));
    }
    mounts
}

/// Files in a writable layer that only the runtime can have made: they lie under mounts.
pub(crate) fn runtime_made(upper: &Dir) -> HashSet<Vec<u8>> {
    let Ok(etc) = upper.open_dir(OsStr::new("etc")) else { return HashSet::new() };
    let empty = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        etc.stat(OsStr::new(name)).is_ok_and(|stat| kind(&stat) == FileType::RegularFile && stat.st_size == 0)
    };
    RUNTIME_FILES.iter().filter(|path| empty(path)).map(|path| path.as_bytes().to_vec()).collect()
}

struct Comparison {
    changes: Vec<Change>,
    made: HashSet<Vec<u8>>,
}

impl Comparison {
    /// Compares one directory; true when a name came or went directly in it.
    fn directory(&mut self, upper: &Dir, lower: Option<&Dir>, path: &[u8], depth: usize) -> Result<bool> {
        if depth == 0 {
            return Err(Error::invalid(format!("{}: more than {DEPTH_MAX} levels", String::from_utf8_lossy(path))));
        }
        let names: BTreeSet<OsString> = upper.names()?.into_iter().collect();
        let mut moved = false;
        for name in &names {
            let below = if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
            moved |= self.one(upper, lower, name, &below, depth)?;
        }
        Ok(moved)
    }

    fn one(&mut self, upper: &Dir, lower: Option<&Dir>, name: &OsStr, path: &[u8], depth: usize) -> Result<bool> {
        // It may be running: what went away meanwhile is looked at the next time.
        let Ok(stat) = upper.stat(name) else { return Ok(false) };
        let below = lower.and_then(|lower| lower.stat(name).ok()).filter(|stat| !is_whiteout(stat));
        if is_whiteout(&stat) {
            if below.is_some() {
                self.push(path, ChangeKind::Deleted)?;
            }
            return Ok(below.is_some());
        }
        if below.is_none() && self.made.contains(path) {
            return Ok(false);
        }
        if kind(&stat) != FileType::Directory {
            self.push(path, if below.is_some() { ChangeKind::Modified } else { ChangeKind::Added })?;
            return Ok(below.is_none());
        }
        self.subdirectory(upper, lower, name, path, &stat, below, depth)
    }

    #[expect(clippy::too_many_arguments, reason = "both sides of one name, as the caller has just looked at them")]
    fn subdirectory(
        &mut self,
        upper: &Dir,
        lower: Option<&Dir>,
        name: &OsStr,
        path: &[u8],
        stat: &Stat,
        below: Option<Stat>,
        depth: usize,
    ) -> Result<bool> {
        let here = Dir::from_fd(upper.open(name, OFlags::RDONLY | OFlags::DIRECTORY)?);
        let was_dir = below.as_ref().is_some_and(|below| kind(below) == FileType::Directory);
        let opaque = upper.get_xattr(name, OsStr::new(XATTR_OPAQUE), 8)?.as_deref() == Some(b"y");
        let under = match lower {
            Some(lower) if was_dir => lower.open_dir(name).ok(),
            _ => None,
        };
        let at = self.changes.len();
        self.push(path, if below.is_some() { ChangeKind::Modified } else { ChangeKind::Added })?;
        let mut moved = false;
        if let (true, Some(under)) = (opaque, &under) {
            moved |= self.hidden(&here, under, path)?;
        }
        let seen = under.as_ref();
        moved |= self.directory(&here, seen, path, depth - 1)?;
        let same = below.as_ref().is_some_and(|below| was_dir && same_owner_and_mode(below, stat));
        let made = below.is_none()
            && self.changes.len() == at + 1
            && RUNTIME_DIRECTORIES.iter().any(|known| known.as_bytes() == path);
        if (same && !moved) || made {
            self.changes.remove(at);
        }
        Ok(below.is_none() && !made)
    }

    /// Names of the image that an opaque directory hides and does not have again.
    fn hidden(&mut self, here: &Dir, under: &Dir, path: &[u8]) -> Result<bool> {
        let mut any = false;
        let names: BTreeSet<OsString> = under.names()?.into_iter().collect();
        for name in names.iter().filter(|name| here.stat(name).is_err()) {
            self.push(&[path, b"/", name.as_bytes()].concat(), ChangeKind::Deleted)?;
            any = true;
        }
        Ok(any)
    }

    fn push(&mut self, path: &[u8], kind: ChangeKind) -> Result<()> {
        if self.changes.len() >= CHANGES_MAX {
            return Err(Error::invalid(format!("more than {CHANGES_MAX} changes")));
        }
        self.changes.push(Change { path: format!("/{}", String::from_utf8_lossy(path)), kind });
        Ok(())
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn same_owner_and_mode(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(path: &Path) -> Dir {
        RootFd::open(path).unwrap().open_dir(Path::new("")).unwrap()
    }

    #[test]
    fn what_the_runtime_made_is_no_change() {
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in ["etc", "proc", "data/new", "same"] {
            std::fs::create_dir_all(upper.path().join(dir)).unwrap();
        }
        for dir in ["same", "bin"] {
            std::fs::create_dir_all(lower.path().join(dir)).unwrap();
        }
        std::fs::write(upper.path().join("etc/hosts"), b"").unwrap();
        std::fs::write(upper.path().join("same/file"), b"new").unwrap();
        std::fs::write(lower.path().join("same/file"), b"old").unwrap();
        std::fs::write(upper.path().join("bin"), b"a file now").unwrap();
        let (upper, lower) = (open(upper.path()), open(lower.path()));
        let mut found = Comparison { changes: Vec::new(), made: runtime_made(&upper) };
        found.directory(&upper, Some(&lower), &[], DEPTH_MAX).unwrap();
        let told: Vec<_> = found.changes.iter().map(|c| (c.kind, c.path.as_str())).collect();
        assert_eq!(
            told,
            [
                (ChangeKind::Modified, "/bin"),
                (ChangeKind::Added, "/data"),
                (ChangeKind::Added, "/data/new"),
                (ChangeKind::Modified, "/same/file"),
            ]
        );
    }
}
