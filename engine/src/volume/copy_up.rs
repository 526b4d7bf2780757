//! Copies a directory of an image into a new volume: owners, modes, times, extended attributes, links, holes.
//!
//! Source and destination are directories by descriptor, and every name in them is opened without following it: what an
//! image puts into its tree leads nowhere else. Blocking.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps};
use sys::rooted::{Dir, RootFd};

/// Levels that are copied; deeper trees are refused.
const DEPTH_MAX: usize = 200;
/// Bytes of a list of attribute names, and of one attribute: the kernel's own limits.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// Bytes copied at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A copy in progress.
struct Copy<'a> {
    destination: &'a RootFd,
    /// Where an inode with several links was first copied to.
    links: HashMap<(u64, u64), PathBuf>,
}

/// Copies everything in `source` into `destination`, which is empty, and gives it the owner, mode and times of `source`.
///
/// # Errors
/// The first that occurs, naming the path; what was copied so far stays.
pub(super) fn copy_tree(source: &Dir, destination: &RootFd) -> io::Result<()> {
    let mut copy = Copy { destination, links: HashMap::new() };
    copy.directory(source, Path::new(""), 0)?;
    let stat = rustix::fs::fstat(source)?;
    let root = destination.open_file(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    rustix::fs::fchown(
        &root,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(&root, &times_of(&stat))?;
    Ok(())
}

impl Copy<'_> {
    fn directory(&mut self, source: &Dir, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("{}: more than {DEPTH_MAX} levels", path.display())));
        }
        let destination = self.destination.open_dir(path)?;
        for name in source.names()? {
            let below = path.join(&name);
            self.entry(source, &destination, &name, &below, depth).map_err(|error| named(&below, error))?;
        }
        Ok(())
    }

    fn entry(&mut self, source: &Dir, destination: &Dir, name: &OsStr, path: &Path, depth: usize) -> io::Result<()> {
        let stat = source.stat(name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let (old, old_name) = self.destination.open_parent(first)?;
                return destination.link(name, &old, old_name);
            }
            self.links.insert(inode, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                destination.mkdir(name, Mode::RWXU)?;
                let below = Dir::from_fd(source.open(name, OFlags::RDONLY | OFlags::DIRECTORY)?);
                self.directory(&below, path, depth + 1)?;
            }
            FileType::RegularFile => copy_file(source, destination, name)?,
            FileType::Symlink => destination.symlink(name, &source.read_link(name)?)?,
            other => destination.mknod(name, other, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        copy_attributes(source, destination, name, kind, &stat)
    }
}

/// The innermost path is named once, not at every level on the way up.
fn named(path: &Path, error: io::Error) -> io::Error {
    if error.get_ref().is_some() { error } else { io::Error::new(error.kind(), format!("{}: {error}", path.display())) }
}

/// Owner first: it takes the set-id bits and file capabilities away. Times last.
fn copy_attributes(source: &Dir, destination: &Dir, name: &OsStr, kind: FileType, stat: &Stat) -> io::Result<()> {
    destination.chown(name, stat.st_uid, stat.st_gid)?;
    if kind != FileType::Symlink {
        destination.chmod(name, stat.st_mode & 0o7777)?;
    }
    for attribute in source.xattr_names(name, XATTR_BYTES_MAX)? {
        if let Some(value) = source.get_xattr(name, &attribute, XATTR_BYTES_MAX)? {
            match destination.set_xattr(name, &attribute, &value) {
                // A file system that has no such attribute: the content counts.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                other => other?,
            }
        }
    }
    destination.set_times(name, &times_of(stat))
}

fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies a file's data and leaves its holes holes.
fn copy_file(source: &Dir, destination: &Dir, name: &OsStr) -> io::Result<()> {
    // Not blocking: should the name have become a FIFO meanwhile, this does not wait for its other end.
    let mut from = File::from(source.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if FileType::from_raw_mode(rustix::fs::fstat(&from)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it changed while it was copied"));
    }
    let mut to = destination.create_file(name, Mode::RUSR | Mode::WUSR)?;
    let len = from.metadata()?.len();
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    let mut at = 0;
    while at < len {
        let data = match rustix::fs::seek(&from, SeekFrom::Data(at)) {
            // Nothing but a hole to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => at,
            other => other?,
        };
        let hole = rustix::fs::seek(&from, SeekFrom::Hole(data)).unwrap_or(len);
        from.seek(io::SeekFrom::Start(data))?;
        to.seek(io::SeekFrom::Start(data))?;
        let mut left = hole.saturating_sub(data);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = from.read(&mut buffer[..want])?;
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read])?;
            left -= read as u64;
        }
        at = hole.max(data + 1);
    }
    to.set_len(len)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn open(path: &Path) -> Dir {
        Dir::from_fd(
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap(),
        )
    }

    #[test]
    fn everything_is_copied_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        std::fs::create_dir_all(from.join("sub/deeper")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(root.path().join("canary"), "outside").unwrap();
        std::fs::write(from.join("sub/file"), "content").unwrap();
        std::os::unix::fs::chown(from.join("sub/file"), Some(1234), Some(5678)).unwrap();
        std::fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("sub/deeper/again")).unwrap();
        symlink("../../canary", from.join("out")).unwrap();
        symlink("/etc", from.join("absolute")).unwrap();
        rustix::fs::lsetxattr(from.join("sub/file"), "user.mark", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(1 << 31).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (1 << 31) - 3).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, from.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            from.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(&from, Some(33), Some(33)).unwrap();

        copy_tree(&open(&from), &RootFd::open(&to).unwrap()).unwrap();

        let file = std::fs::metadata(to.join("sub/file")).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1234, 5678, 0o4751));
        assert_eq!(file.mtime_nsec(), std::fs::metadata(from.join("sub/file")).unwrap().mtime_nsec());
        assert_eq!(file.ino(), std::fs::metadata(to.join("sub/deeper/again")).unwrap().ino());
        assert_eq!(std::fs::read(to.join("sub/file")).unwrap(), b"content");
        assert_eq!(std::fs::read_link(to.join("out")).unwrap(), Path::new("../../canary"));
        assert_eq!(std::fs::read_link(to.join("absolute")).unwrap(), Path::new("/etc"));
        let mut mark = [0; 8];
        let len = rustix::fs::lgetxattr(to.join("sub/file"), "user.mark", &mut mark).unwrap();
        assert_eq!(&mark[..len], b"x");
        let sparse = std::fs::metadata(to.join("sparse")).unwrap();
        assert_eq!(sparse.len(), 1 << 31);
        assert!(sparse.blocks() * 512 < 1 << 20, "{} bytes on disk", sparse.blocks() * 512);
        assert_eq!(std::fs::metadata(to.join("null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
        assert!(FileType::from_raw_mode(std::fs::metadata(to.join("fifo")).unwrap().mode()) == FileType::Fifo);
        let top = std::fs::metadata(&to).unwrap();
        assert_eq!((top.uid(), top.mode() & 0o7777), (33, 0o1777));
        assert_eq!(std::fs::read(root.path().join("canary")).unwrap(), b"outside");
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        std::fs::create_dir_all(from.join("d/".repeat(DEPTH_MAX + 2))).unwrap();
        std::fs::create_dir(&to).unwrap();
        let error = copy_tree(&open(&from), &RootFd::open(&to).unwrap()).unwrap_err();
        assert!(error.to_string().contains("levels"), "{error}");
    }
}
