//! A tar, written into a tree that is in use: what `cp` puts into a container.
//!
//! Nothing of the archive is a path to this process. Parents are opened below the tree's root with symlinks followed
//! inside it, as the tree's owner would; the last name is never followed.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::rooted::{Dir, RootFd};

use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::apply::{blame, file, inside, node, set_xattrs, symlink, times};
use crate::snapshot::tar_stream::{Entry, EntryKind, TarStream};

/// Entries of one archive.
const ENTRIES_MAX: u64 = 8 << 20;
/// Directories whose times are set at the end.
const TIMES_MAX: usize = 1 << 20;
/// Mode of a directory that has no entry of its own.
const IMPLIED_MODE: u32 = 0o755;

/// How an archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ExtractOptions {
    /// A directory is never replaced by something else, nor something else by a directory.
    pub(crate) no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user and group, whatever the archive says.
    pub(crate) owner: Option<(u32, u32)>,
}

/// Writes all of `tar` into the directory `at` below `root`.
///
/// # Errors
/// `InvalidArgument` for an archive that is malformed, leads out of `at` or may not replace what is there; `Forbidden`
/// for a file system that is read-only; `ResourceExhausted` for a full one. What was written until then stays.
pub(crate) fn extract<R: BufRead>(
    tar: &mut TarStream<R>,
    root: &RootFd,
    at: &Path,
    options: ExtractOptions,
) -> Result<()> {
    let mut extraction = Extraction { root, at, options, open: None, directories: Vec::new() };
    let mut entries = 0;
    while let Some(mut entry) = tar.next_entry()? {
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(Error::invalid(format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        if let Some((uid, gid)) = options.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        let shown = entry.shown();
        extraction.write(&entry, tar).map_err(|e| readonly(blame(e)).context(format!("entry {shown:?}")))?;
    }
    tar.drain()?;
    extraction.set_directory_times()
}

/// A file system that cannot be written to is a refusal, not a fault.
fn readonly(error: Error) -> Error {
    use std::error::Error as _;
    let raw = error.source().and_then(|s| s.downcast_ref::<std::io::Error>()).and_then(Errno::from_io_error);
    match raw {
        Some(Errno::ROFS) => Error::new(ErrorKind::Forbidden, "the file system there is read-only"),
        _ => error,
    }
}

struct Extraction<'r> {
    root: &'r RootFd,
    at: &'r Path,
    options: ExtractOptions,
    /// The directory of the last entry: entries of one directory mostly follow each other.
    open: Option<(PathBuf, Dir)>,
    directories: Vec<(PathBuf, rustix::fs::Timestamps)>,
}

impl Extraction<'_> {
    fn write<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarStream<R>) -> Result<()> {
        let path = inside(&entry.path)?;
        // The directory that is extracted into stays as it is.
        let Some(name) = path.file_name().map(OsStr::to_owned) else { return Ok(()) };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let kept = self.make_way(entry, &parent, &name)?;
        if entry.kind == EntryKind::Directory {
            return self.directory(entry, &path, &parent, &name, kept);
        }
        if entry.kind == EntryKind::Hardlink {
            return self.hardlink(entry, &parent, &name);
        }
        let dir = self.enter(&parent)?;
        match entry.kind {
            EntryKind::File => file(dir, &name, entry, tar),
            EntryKind::Symlink => symlink(dir, &name, entry),
            _ => node(dir, &name, entry),
        }
    }

    /// Takes away what has the name now, where that is allowed. True when it is a directory that stays.
    fn make_way(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<bool> {
        let no_overwrite = self.options.no_overwrite_dir_non_dir;
        let dir = self.enter(parent)?;
        let there = match dir.stat(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => FileType::from_raw_mode(other?.st_mode) == FileType::Directory,
        };
        let wanted = entry.kind == EntryKind::Directory;
        let shown = parent.join(name).display().to_string();
        match (there, wanted) {
            (true, true) => return Ok(true),
            (true, false) if no_overwrite => {
                return Err(Error::invalid(format!("cannot overwrite directory {shown:?} with non-directory")));
            }
            (false, true) if no_overwrite => {
                return Err(Error::invalid(format!("cannot overwrite non-directory {shown:?} with directory")));
            }
            _ => {}
        }
        dir.remove_all(name)?;
        if there {
            self.open = None;
        }
        Ok(false)
    }

    fn directory(&mut self, entry: &Entry, path: &Path, parent: &Path, name: &OsStr, kept: bool) -> Result<()> {
        let dir = self.enter(parent)?;
        if !kept {
            dir.mkdir(name, Mode::from_raw_mode(0o700))?;
        }
        dir.chown(name, entry.uid, entry.gid)?;
        dir.chmod(name, entry.mode)?;
        set_xattrs(dir, name, entry)?;
        self.later(path, entry);
        Ok(())
    }

    fn hardlink(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<()> {
        let target = inside(&entry.link)?;
        let missing = || Error::invalid(format!("links to {target:?}, which is not there"));
        let whole = self.at.join(&target);
        let (from, from_name) = self.root.open_parent(&whole).map_err(|_| missing())?;
        from.stat(from_name).map_err(|_| missing())?;
        Ok(self.enter(parent)?.link(name, &from, from_name)?)
    }

    /// The directory `parent` of the archive, made if it is missing.
    fn enter(&mut self, parent: &Path) -> Result<&Dir> {
        if self.open.as_ref().is_none_or(|(path, _)| path != parent) {
            let dir = self.root.mkdir_all(&self.at.join(parent), Mode::from_raw_mode(IMPLIED_MODE), &mut |_| ())?;
            self.open = Some((parent.to_owned(), dir));
        }
        match &self.open {
            Some((_, dir)) => Ok(dir),
            None => Err(Error::internal("the directory that was just entered is gone")),
        }
    }

    fn later(&mut self, path: &Path, entry: &Entry) {
        if self.directories.len() < TIMES_MAX {
            self.directories.push((path.to_owned(), times(entry)));
        }
    }

    /// Children change the times of their parents, so these come last, the deepest first.
    fn set_directory_times(&mut self) -> Result<()> {
        for (path, times) in self.directories.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            // Replaced since by somebody who lives there: it has times of its own.
            let Ok(dir) = self.root.open_file(&self.at.join(path), flags, Mode::empty()) else { continue };
            rustix::fs::futimens(&dir, times).map_err(std::io::Error::from)?;
        }
        Ok(())
    }
}
