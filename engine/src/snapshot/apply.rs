//! A layer's tar, written out as a directory for overlayfs.
//!
//! Every path of the archive goes through [`RootFd`]; the last name is never followed. Whiteouts become what overlayfs
//! takes for them, so that a layer needs nothing of its parents: `.wh.x` a character device 0/0 named `x`,
//! `.wh..wh..opq` the attribute `trusted.overlay.opaque`. The process's umask has no say: modes are set afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, RawMode, Timespec, Timestamps};
use rustix::io::Errno;
use sys::rooted::{Dir, RootFd};

use crate::error::{Error, ErrorKind, Result};

use super::directory_times::DirectoryTimes;
use super::tar_stream::{Entry, EntryKind, Region, TarStream};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// aufs' own names (`.wh..wh.plnk`, …), which mean nothing to anybody else.
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Attributes that are overlayfs's own: an image that sets them would reach beyond its layer.
const RESERVED_XATTR_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// Entries of one layer.
const ENTRIES_MAX: u64 = 8 << 20;
/// Levels of one path.
const DEPTH_MAX: usize = 512;
/// Directories of one layer that have files but no entry of their own.
const IMPLIED_MAX: usize = 1 << 16;
/// Mode of a directory that has no entry of its own.
const IMPLIED_MODE: RawMode = 0o755;
/// Zeros of at least this many bytes are left as a hole.
const HOLE_BYTES_MIN: usize = 4096;

/// What a layer turned out to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Entries read.
    pub(crate) entries: u64,
    /// Whether the archive says what the root directory is like.
    pub(crate) names_root: bool,
    /// Directories that were made without an entry of their own: who stacks the layer takes their mode and owner from
    /// the layers below.
    pub(crate) implied: Vec<PathBuf>,
}

/// Writes all of `tar` under `root`, which is new and empty and which nobody else writes to.
///
/// # Errors
/// `InvalidArgument` for an archive that is malformed or wants something outside of the layer; `ResourceExhausted` for
/// a full disk; the reader's own error. What was written until then stays, for the caller to remove.
pub(crate) fn apply<R: BufRead>(tar: &mut TarStream<R>, root: &RootFd) -> Result<Applied> {
    let mut layer = Layer { root, at: None, times: DirectoryTimes::default(), applied: Applied::default() };
    layer.root_defaults()?;
    while let Some(entry) = tar.next_entry()? {
        layer.applied.entries += 1;
        if layer.applied.entries > ENTRIES_MAX {
            return Err(Error::invalid(format!("the layer has more than {ENTRIES_MAX} entries")));
        }
        let shown = entry.shown();
        layer.write(&entry, tar).map_err(|e| blame(e).context(format!("entry {shown:?}")))?;
    }
    tar.drain()?;
    layer.times.apply(root)?;
    // Some may have been named by an entry that came later, or removed.
    let mut implied = std::mem::take(&mut layer.applied.implied);
    implied.sort();
    implied.dedup();
    Ok(Applied { implied, ..layer.applied })
}

/// Errors of the kernel that say that the archive asks for what cannot be (a file in a file, a loop of links) are the
/// archive's fault, not the machine's.
pub(crate) fn blame(error: Error) -> Error {
    use std::error::Error as _;
    let raw = error.source().and_then(|s| s.downcast_ref::<std::io::Error>()).and_then(Errno::from_io_error);
    match raw {
        Some(
            Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ISDIR
            | Errno::EXIST
            | Errno::NOENT
            | Errno::INVAL,
        ) => {
            let why = raw.map_or_else(String::new, |errno| std::io::Error::from(errno).to_string());
            Error::invalid(format!("it cannot be written: {why}"))
        }
        _ => error,
    }
}

struct Layer<'r> {
    root: &'r RootFd,
    /// The directory of the last entry, open: entries of one directory mostly follow each other.
    at: Option<(PathBuf, Dir)>,
    times: DirectoryTimes,
    applied: Applied,
}

impl Layer<'_> {
    fn root_defaults(&self) -> Result<()> {
        let here = self.root.open_file(Path::new(""), rustix::fs::OFlags::RDONLY, Mode::empty())?;
        rustix::fs::fchmod(&here, Mode::from_raw_mode(IMPLIED_MODE)).map_err(io)?;
        Ok(())
    }

    fn write<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarStream<R>) -> Result<()> {
        let path = inside(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return if entry.kind == EntryKind::Directory { self.describe_root(entry) } else { Ok(()) };
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let bytes = name.as_bytes();
        if bytes == OPAQUE_NAME {
            let dir = self.enter(&parent)?;
            return set_opaque(dir);
        }
        if bytes.starts_with(WHITEOUT_META_PREFIX) {
            return Ok(());
        }
        if let Some(hidden) = bytes.strip_prefix(WHITEOUT_PREFIX) {
            return whiteout(self.enter(&parent)?, OsStr::from_bytes(hidden));
        }
        match entry.kind {
            EntryKind::Directory => self.directory(entry, &path, &parent, &name),
            EntryKind::Hardlink => self.hardlink(entry, &parent, &name),
            kind => {
                self.clear(&parent, &name)?;
                let dir = self.enter(&parent)?;
                match kind {
                    EntryKind::File => file(dir, &name, entry, tar),
                    EntryKind::Symlink => symlink(dir, &name, entry),
                    _ => node(dir, &name, entry),
                }
            }
        }
    }

    /// The directory `parent`, made if it is missing.
    fn enter(&mut self, parent: &Path) -> Result<&Dir> {
        if self.at.as_ref().is_none_or(|(path, _)| path != parent) {
            let implied = &mut self.applied.implied;
            let mut too_many = false;
            let mode = Mode::from_raw_mode(IMPLIED_MODE);
            let dir = self.root.mkdir_all(parent, mode, &mut |made| {
                too_many |= implied.len() >= IMPLIED_MAX;
                if !too_many {
                    implied.push(made.to_owned());
                }
            })?;
            if too_many {
                return Err(Error::invalid(format!("more than {IMPLIED_MAX} directories have no entry of their own")));
            }
            self.at = Some((parent.to_owned(), dir));
        }
        match &self.at {
            Some((_, dir)) => Ok(dir),
            None => Err(Error::internal("the directory that was just entered is gone")),
        }
    }

    /// Takes away what has the name now: an earlier entry of the same layer.
    fn clear(&mut self, parent: &Path, name: &OsStr) -> Result<()> {
        let dir = self.enter(parent)?;
        match dir.stat(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(stat) => {
                dir.remove_all(name)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let gone = parent.join(name);
                    self.applied.implied.retain(|path| !path.starts_with(&gone));
                    self.at = None;
                }
            }
        }
        Ok(())
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<()> {
        let here = self.root.open_file(Path::new(""), rustix::fs::OFlags::RDONLY, Mode::empty())?;
        rustix::fs::fchown(&here, Some(uid(entry)), Some(gid(entry))).map_err(io)?;
        rustix::fs::fchmod(&here, Mode::from_raw_mode(entry.mode)).map_err(io)?;
        for (name, value) in &entry.xattrs {
            checked_xattr(name)?;
            let set = rustix::fs::fsetxattr(&here, name.as_slice(), value, rustix::fs::XattrFlags::empty());
            tolerated(name, set.map_err(Into::into))?;
        }
        self.applied.names_root = true;
        self.times.push(Path::new(""), times(entry).last_modification)
    }

    fn directory(&mut self, entry: &Entry, path: &Path, parent: &Path, name: &OsStr) -> Result<()> {
        let dir = self.enter(parent)?;
        let existing = match dir.stat(name) {
            Ok(stat) => Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let hidden_below = existing == Some((FileType::CharacterDevice, 0));
        if existing.is_none_or(|(kind, _)| kind != FileType::Directory) {
            dir.remove_all(name)?;
            dir.mkdir(name, Mode::from_raw_mode(0o700))?;
        }
        dir.chown(name, entry.uid, entry.gid)?;
        dir.chmod(name, entry.mode)?;
        set_xattrs(dir, name, entry)?;
        if hidden_below {
            // The layer both hides the old one and has a new one: what is below must not show through.
            dir.set_xattr(name, OsStr::new(OPAQUE_XATTR), b"y")?;
        }
        self.applied.implied.retain(|implied| implied != path);
        self.times.push(path, times(entry).last_modification)
    }

    fn hardlink(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<()> {
        let target = inside(&entry.link)?;
        let missing = || Error::invalid(format!("links to {:?}, which is not in this layer", target));
        let (from, from_name) = self.root.open_parent(&target).map_err(|_| missing())?;
        let stat = from.stat(from_name).map_err(|_| missing())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(Error::invalid(format!("links to the directory {target:?}")));
        }
        let here = self.enter(parent)?;
        if here.stat(name).is_ok_and(|now| (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        self.clear(parent, name)?;
        Ok(self.enter(parent)?.link(name, &from, from_name)?)
    }
}

fn io(error: Errno) -> Error {
    std::io::Error::from(error).into()
}

/// The path as one under the root, with `.` and `..` worked out; one that leads above the root is refused.
pub(crate) fn inside(path: &[u8]) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    let mut depth = 0_usize;
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => {
                clean.push(name);
                depth += 1;
            }
            Component::ParentDir => {
                if !clean.pop() {
                    let shown = String::from_utf8_lossy(path).into_owned();
                    return Err(Error::invalid(format!("the path {shown:?} leads out of the layer")));
                }
                depth -= 1;
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!("a path of more than {DEPTH_MAX} levels")));
    }
    Ok(clean)
}

fn uid(entry: &Entry) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(entry.gid)
}

pub(crate) fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime_seconds, tv_nsec: entry.mtime_nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn set_opaque(dir: &Dir) -> Result<()> {
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", raw(dir)));
    rustix::fs::setxattr(&path, OPAQUE_XATTR, b"y", rustix::fs::XattrFlags::empty()).map_err(io)
}

fn raw(dir: &Dir) -> std::os::fd::RawFd {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    dir.as_fd().as_raw_fd()
}

/// A whiteout hides what is in lower layers only: what this layer itself has under the name stays.
fn whiteout(dir: &Dir, hidden: &OsStr) -> Result<()> {
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(Error::invalid("a whiteout of nothing"));
    }
    match dir.mknod(hidden, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if FileType::from_raw_mode(dir.stat(hidden)?.st_mode) == FileType::Directory {
                dir.set_xattr(hidden, OsStr::new(OPAQUE_XATTR), b"y")?;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

pub(crate) fn file<R: BufRead>(dir: &Dir, name: &OsStr, entry: &Entry, tar: &mut TarStream<R>) -> Result<()> {
    let file = dir.create_file(name, Mode::from_raw_mode(0o600))?;
    match &entry.sparse {
        None => write_region(&file, Region { offset: 0, length: entry.size }, tar)?,
        Some(regions) => {
            for region in regions {
                write_region(&file, *region, tar)?;
            }
        }
    }
    if entry.size > 0 {
        file.set_len(entry.size)?;
    }
    // The owner first: a change of owner takes setuid and capabilities away.
    rustix::fs::fchown(&file, Some(uid(entry)), Some(gid(entry))).map_err(io)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(io)?;
    set_xattrs(dir, name, entry)?;
    rustix::fs::futimens(&file, &times(entry)).map_err(io)
}

/// Writes the next `region.length` bytes of the stream at `region.offset`, leaving holes where they are zero.
fn write_region<R: BufRead>(file: &File, region: Region, tar: &mut TarStream<R>) -> Result<()> {
    let mut done = 0;
    while done < region.length {
        let available = tar.fill()?;
        let take = available.len().min(usize::try_from(region.length - done).unwrap_or(usize::MAX));
        if take == 0 {
            return Err(Error::invalid("its bytes end early"));
        }
        let piece = &available[..take];
        if take < HOLE_BYTES_MIN || piece.iter().any(|b| *b != 0) {
            file.write_all_at(piece, region.offset + done)?;
        }
        tar.consume(take);
        done += take as u64;
    }
    Ok(())
}

pub(crate) fn symlink(dir: &Dir, name: &OsStr, entry: &Entry) -> Result<()> {
    if entry.link.is_empty() {
        return Err(Error::invalid("a symlink to nothing"));
    }
    dir.symlink(name, OsStr::from_bytes(&entry.link))?;
    dir.chown(name, entry.uid, entry.gid)?;
    set_xattrs(dir, name, entry)?;
    Ok(dir.set_times(name, &times(entry))?)
}

pub(crate) fn node(dir: &Dir, name: &OsStr, entry: &Entry) -> Result<()> {
    let kind = match entry.kind {
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    dir.mknod(name, kind, Mode::from_raw_mode(0o600), device)?;
    dir.chown(name, entry.uid, entry.gid)?;
    dir.chmod(name, entry.mode)?;
    set_xattrs(dir, name, entry)?;
    Ok(dir.set_times(name, &times(entry))?)
}

pub(crate) fn set_xattrs(dir: &Dir, name: &OsStr, entry: &Entry) -> Result<()> {
    for (attribute, value) in &entry.xattrs {
        checked_xattr(attribute)?;
        tolerated(attribute, dir.set_xattr(name, OsStr::from_bytes(attribute), value))?;
    }
    Ok(())
}

fn checked_xattr(attribute: &[u8]) -> Result<()> {
    if RESERVED_XATTR_PREFIXES.iter().any(|prefix| attribute.starts_with(prefix)) {
        let shown = OsString::from(OsStr::from_bytes(attribute));
        return Err(Error::invalid(format!(
            "the attribute {shown:?} belongs to overlayfs and cannot come from an image"
        )));
    }
    Ok(())
}

/// What this file system or kind of file cannot carry is left out, as other engines do; capabilities are not.
fn tolerated(attribute: &[u8], result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error)
            if attribute != b"security.capability"
                && matches!(Errno::from_io_error(&error), Some(Errno::OPNOTSUPP | Errno::PERM)) =>
        {
            tracing::debug!(attribute = %String::from_utf8_lossy(attribute), %error, "left out an extended attribute");
            Ok(())
        }
        Err(error) => Err(Error::from(error).context(format!("set {}", String::from_utf8_lossy(attribute)))),
        Ok(()) => Ok(()),
    }
    .map_err(|e| if e.kind() == ErrorKind::Internal { e.context("extended attribute") } else { e })
}
