//! Counting what a directory takes on disk.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{Error, ErrorKind, Result};

use super::Usage;

/// `st_blocks` counts in these, whatever the file system's own block is.
const STAT_BLOCK_BYTES: u64 = 512;
/// Levels walked, each holding a descriptor.
const DEPTH_MAX: usize = 600;

/// Walks `root` once. Files with several links count once; other file systems mounted inside do not count.
///
/// # Errors
/// `DeadlineExceeded` after `limit`; `Internal` when the directory cannot be read.
pub(crate) fn count(root: &Path, limit: Duration) -> Result<Usage> {
    let fd = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::from(std::io::Error::from(e)).context(format!("open {}", root.display())))?;
    let stat = rustix::fs::fstat(&fd).map_err(std::io::Error::from)?;
    let mut walk = Walk {
        usage: Usage::default(),
        device: stat.st_dev,
        seen: HashSet::new(),
        deadline: Instant::now() + limit,
        limit,
    };
    walk.add(&stat);
    walk.directory(fd, DEPTH_MAX)?;
    Ok(walk.usage)
}

struct Walk {
    usage: Usage,
    device: u64,
    seen: HashSet<u64>,
    deadline: Instant,
    limit: Duration,
}

impl Walk {
    fn add(&mut self, stat: &rustix::fs::Stat) {
        let linked = FileType::from_raw_mode(stat.st_mode) != FileType::Directory && stat.st_nlink > 1;
        if linked && !self.seen.insert(stat.st_ino) {
            return;
        }
        self.usage.bytes += stat.st_blocks.cast_unsigned() * STAT_BLOCK_BYTES;
        self.usage.inodes += 1;
    }

    fn directory(&mut self, fd: OwnedFd, depth: usize) -> Result<()> {
        if Instant::now() > self.deadline {
            return Err(Error::new(ErrorKind::DeadlineExceeded, format!("counting took longer than {:?}", self.limit)));
        }
        if depth == 0 {
            return Err(Error::invalid("directories are nested too deep to count"));
        }
        let entries = rustix::fs::Dir::read_from(fd.as_fd()).map_err(std::io::Error::from)?;
        for entry in entries {
            let entry = entry.map_err(std::io::Error::from)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if stat.st_dev == self.device => stat,
                // Another file system, or gone since it was listed: a container may be writing here.
                Ok(_) | Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(std::io::Error::from(error).into()),
            };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&fd, OsStr::from_bytes(name.to_bytes()), flags, Mode::empty()) {
                    Ok(child) => self.directory(child, depth - 1)?,
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                    Err(error) => return Err(std::io::Error::from(error).into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn links_count_once_and_holes_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
        sparse.set_len(1 << 31).unwrap();
        std::fs::write(dir.path().join("a"), vec![1; 10_000]).unwrap();
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("d/root")).unwrap();
        let usage = count(dir.path(), Duration::from_secs(60)).unwrap();
        let blocks = |name: &str| std::fs::symlink_metadata(dir.path().join(name)).unwrap().blocks() * 512;
        assert_eq!(usage.inodes, 5);
        assert_eq!(usage.bytes, blocks("") + blocks("sparse") + blocks("a") + blocks("d") + blocks("d/root"));
        assert!(usage.bytes < 1 << 20);
        assert_eq!(count(dir.path(), Duration::ZERO).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    }
}
