//! Places that a runtime makes to mount something on, and that are nobody's files: they are taken out of a layer again.
//!
//! Both sides are looked at by descriptor and name; what a command has put in a place stays.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use sys::rooted::{Dir, RootFd};

use crate::error::Result;

use super::tree::kind;

/// What the runtime mounts into every container.
const ALWAYS: [&str; 6] = ["/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Paths under the root, without symlinks, that are missing before a command runs, and the directories above them.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    missing: Vec<PathBuf>,
    above: Vec<PathBuf>,
}

impl Stubs {
    /// Notes what is missing of the targets of mounts.
    pub(super) fn note<'t>(root: &RootFd, targets: impl IntoIterator<Item = &'t str>) -> Result<Self> {
        let mut stubs = Self::default();
        for target in ALWAYS.into_iter().chain(targets) {
            let real = root.resolve(Path::new(target))?;
            let mut at = PathBuf::new();
            for part in real.components() {
                let Component::Normal(name) = part else { continue };
                let parent = at.clone();
                at.push(name);
                let there = root.open_dir(&parent).is_ok_and(|dir| dir.stat(name).is_ok());
                let list = if there { &mut stubs.above } else { &mut stubs.missing };
                if !list.contains(&at) {
                    list.push(at.clone());
                }
            }
        }
        Ok(stubs)
    }

    /// Takes out of a writable layer what is still as the runtime made it.
    pub(super) fn clear(mut self, upper: &Dir, lower: &RootFd) -> Result<()> {
        self.missing.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in &self.missing {
            let Some((dir, name)) = parent(upper, path) else { continue };
            let Ok(stat) = dir.stat(name) else { continue };
            let untouched = match kind(&stat) {
                FileType::Directory => dir.open_dir(name)?.names()?.is_empty(),
                FileType::RegularFile => stat.st_size == 0,
                _ => false,
            };
            if untouched {
                dir.remove_all(name)?;
            }
        }
        // A directory that was only copied up because something was made in it.
        self.above.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in &self.above {
            let Some((dir, name)) = parent(upper, path) else { continue };
            let (Ok(stat), Ok((lower_dir, lower_name))) = (dir.stat(name), lower.open_parent(path)) else { continue };
            let Ok(before) = lower_dir.stat(lower_name) else { continue };
            let same = (stat.st_mode, stat.st_uid, stat.st_gid) == (before.st_mode, before.st_uid, before.st_gid);
            let opaque = dir.get_xattr(name, OsStr::new("trusted.overlay.opaque"), 8)?.is_some();
            if same && kind(&stat) == FileType::Directory && !opaque && dir.open_dir(name)?.names()?.is_empty() {
                dir.remove_all(name)?;
            }
        }
        Ok(())
    }
}

/// The directory of a path, opened name by name, nothing followed.
fn parent<'p>(root: &Dir, path: &'p Path) -> Option<(Dir, &'p OsStr)> {
    let name = path.file_name()?;
    let mut dir = Dir::from_fd(root.as_fd().try_clone_to_owned().ok()?);
    for part in path.parent()?.components() {
        dir = dir.open_dir(part.as_os_str()).ok()?;
    }
    Some((dir, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_made_goes_and_what_a_command_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        std::fs::create_dir_all(lower.join("root")).unwrap();
        std::fs::create_dir_all(&upper).unwrap();
        let root = RootFd::open(&lower).unwrap();
        let stubs = Stubs::note(&root, ["/root/.cache", "/used/here", "/run/secrets/a"]).unwrap();
        for path in ["root/.cache", "used/here", "run/secrets", "dev", "proc"] {
            std::fs::create_dir_all(upper.join(path)).unwrap();
        }
        std::fs::write(upper.join("run/secrets/a"), "").unwrap();
        std::fs::write(upper.join("used/file"), "x").unwrap();
        let opened = RootFd::open(&upper).unwrap().open_dir(Path::new("")).unwrap();
        stubs.clear(&opened, &root).unwrap();
        let left: Vec<_> = std::fs::read_dir(&upper).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["used"]);
        assert!(!upper.join("used/here").exists());
    }

    #[test]
    fn a_symlink_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (lower, upper, outside) = (dir.path().join("l"), dir.path().join("u"), dir.path().join("o"));
        for path in [&lower, &upper, &outside] {
            std::fs::create_dir(path).unwrap();
        }
        let root = RootFd::open(&lower).unwrap();
        let stubs = Stubs::note(&root, ["/a/b"]).unwrap();
        std::os::unix::fs::symlink(&outside, upper.join("a")).unwrap();
        std::fs::create_dir(outside.join("b")).unwrap();
        stubs.clear(&RootFd::open(&upper).unwrap().open_dir(Path::new("")).unwrap(), &root).unwrap();
        assert!(outside.join("b").exists() && upper.join("a").is_symlink());
    }
}
