//! Writing into the file system of a stage: entries of a tree, files of the Dockerfile itself, archives.
//!
//! The destination is opened through its root: symlinks that the image has on the way are followed inside of it, the last
//! name never is.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use sys::rooted::{Dir, RootFd};

use crate::archive::extract::{ExtractOptions, extract};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::tar_stream::TarStream;

use super::chmod::Chmod;
use super::tree::{Entry, Tree, kind, xattrs};

/// Mode of directories that are made on the way.
const MADE_MODE: u32 = 0o755;

/// How things are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways {
    /// Whom they belong to; `None` = as in the source.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<Chmod>,
    /// The latest time, unix seconds.
    pub(super) latest: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    root: &'a RootFd,
    ways: Ways,
    /// Where an inode with several links was first written.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories whose times are set at the end.
    directories: Vec<(PathBuf, Timestamps)>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(root: &'a RootFd, ways: Ways) -> Self {
        Self { root, ways, links: HashMap::new(), directories: Vec::new() }
    }

    /// Whether the path is a directory now, its symlinks followed.
    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.root.open_dir(path).is_ok()
    }

    /// Whether anything has the path, its symlinks followed.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.root.open_file(path, OFlags::PATH, Mode::empty()).is_ok()
    }

    /// Makes a directory with all that is missing above it; what is made belongs to the owner.
    pub(super) fn make_dir(&self, path: &Path) -> Result<Dir> {
        let mut made = Vec::new();
        let mode = Mode::from_raw_mode(MADE_MODE);
        let dir = self.root.mkdir_all(path, mode, &mut |path| made.push(path.to_owned())).map_err(|e| {
            let text = if e.kind() == std::io::ErrorKind::NotADirectory { "not a directory" } else { "cannot be made" };
            Error::invalid(format!("{}: {text}", path.display())).with_source(e)
        })?;
        for path in made {
            let (parent, name) = self.root.open_parent(&path)?;
            // The umask has had its say.
            parent.chmod(name, MADE_MODE)?;
            if let Some((uid, gid)) = self.ways.owner {
                parent.chown(name, uid, gid)?;
            }
        }
        Ok(dir)
    }

    /// Writes the entries of one source: the first of them becomes `to`. `contents`: it is a directory of which only
    /// what is in it is copied, into one that may be there and stays as it is then.
    pub(super) fn tree(&mut self, tree: &Tree, entries: &[Entry], to: &Path, contents: bool) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let skipped = usize::from(contents && self.is_dir(to));
        if let Some(parent) = to.parent() {
            drop(self.make_dir(parent)?);
        }
        debug_assert!(first.below.as_os_str().is_empty(), "what was chosen comes first");
        let mut from: Option<(PathBuf, Dir)> = None;
        for entry in &entries[skipped..] {
            let parent = entry.path.parent().unwrap_or(Path::new(""));
            if from.as_ref().is_none_or(|(path, _)| path != parent) {
                from = Some((parent.to_owned(), tree.parent(&entry.path)?));
            }
            let Some((_, from)) = &from else { continue };
            let target = if entry.below.as_os_str().is_empty() { to.to_owned() } else { to.join(&entry.below) };
            self.entry(tree, from, entry, &target).map_err(|e| e.context(format!("copy {}", entry.path.display())))?;
        }
        Ok(())
    }

    fn entry(&mut self, tree: &Tree, from: &Dir, entry: &Entry, to: &Path) -> Result<()> {
        let stat = &entry.stat;
        let name = entry.path.file_name().unwrap_or_default();
        let owner = self.ways.owner.or_else(|| tree.owned_by_root().then_some((0, 0)));
        let (uid, gid) = owner.unwrap_or((stat.st_uid, stat.st_gid));
        let is_dir = kind(stat) == FileType::Directory;
        let (dir, last) = match self.root.open_parent(to) {
            Ok(found) => found,
            // The root itself, or a directory above was left out.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                drop(self.make_dir(to.parent().unwrap_or(Path::new("")))?);
                self.root.open_parent(to)?
            }
            Err(_) if is_dir => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if is_dir {
            self.directory(&dir, last, to)?;
        } else {
            make_way(&dir, last, to)?;
            if stat.st_nlink > 1 && self.linked(&dir, last, stat, to)? {
                return Ok(());
            }
            match kind(stat) {
                FileType::RegularFile => self.file(from, name, &dir, last)?,
                FileType::Symlink => dir.symlink(last, &from.read_link(name)?)?,
                // A tree of files has no sockets.
                FileType::Socket => return Ok(()),
                node => dir.mknod(last, node, Mode::from_raw_mode(0o600), stat.st_rdev)?,
            }
        }
        dir.chown(last, uid, gid)?;
        if kind(stat) != FileType::Symlink {
            let mode = self.ways.chmod.as_ref().map_or(stat.st_mode & 0o7777, |chmod| chmod.apply(stat.st_mode));
            dir.chmod(last, mode)?;
        }
        if !name.is_empty() {
            for (attribute, value) in xattrs(from, name)? {
                dir.set_xattr(last, &attribute, &value)?;
            }
        }
        let times = times(stat, self.ways.latest);
        if is_dir {
            self.directories.push((to.to_owned(), times));
            return Ok(());
        }
        Ok(dir.set_times(last, &times)?)
    }

    /// A second name of an inode that was written already.
    fn linked(&mut self, dir: &Dir, name: &OsStr, stat: &Stat, to: &Path) -> Result<bool> {
        let inode = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&inode) else {
            self.links.insert(inode, to.to_owned());
            return Ok(false);
        };
        let (there, there_name) = self.root.open_parent(first)?;
        dir.link(name, &there, there_name)?;
        Ok(true)
    }

    fn directory(&self, dir: &Dir, name: &OsStr, to: &Path) -> Result<()> {
        match dir.stat(name) {
            Ok(stat) if kind(&stat) == FileType::Directory => Ok(()),
            // A symlink to a directory, or something else.
            Ok(_) if self.is_dir(to) => Ok(()),
            Ok(_) => Err(Error::invalid(format!("cannot copy to non-directory: {}", to.display()))),
            Err(_) => Ok(dir.mkdir(name, Mode::from_raw_mode(0o700))?),
        }
    }

    fn file(&self, from: &Dir, name: &OsStr, dir: &Dir, last: &OsStr) -> Result<()> {
        let mut source = from.open_regular(name)?;
        let mut target = dir.create_file(last, Mode::from_raw_mode(0o600))?;
        std::io::copy(&mut source, &mut target)?;
        Ok(())
    }

    /// Writes one file that is no entry of a tree.
    pub(super) fn text(&mut self, to: &Path, bytes: &[u8], mode: u32, seconds: i64) -> Result<()> {
        if let Some(parent) = to.parent() {
            drop(self.make_dir(parent)?);
        }
        let (dir, last) = self.root.open_parent(to)?;
        make_way(&dir, last, to)?;
        let mut target = dir.create_file(last, Mode::from_raw_mode(0o600))?;
        target.write_all(bytes)?;
        self.finish(&dir, last, mode, seconds)
    }

    /// Writes one file out of another that is open.
    pub(super) fn stream(&mut self, to: &Path, from: &mut std::fs::File, mode: u32, seconds: i64) -> Result<()> {
        if let Some(parent) = to.parent() {
            drop(self.make_dir(parent)?);
        }
        let (dir, last) = self.root.open_parent(to)?;
        make_way(&dir, last, to)?;
        let mut target = dir.create_file(last, Mode::from_raw_mode(0o600))?;
        std::io::copy(from, &mut target)?;
        self.finish(&dir, last, mode, seconds)
    }

    fn finish(&self, dir: &Dir, last: &OsStr, mode: u32, seconds: i64) -> Result<()> {
        let (uid, gid) = self.ways.owner.unwrap_or((0, 0));
        dir.chown(last, uid, gid)?;
        dir.chmod(last, self.ways.chmod.as_ref().map_or(mode, |chmod| chmod.apply(mode)))?;
        let seconds = self.ways.latest.map_or(seconds, |latest| latest.min(seconds));
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Ok(dir.set_times(last, &Timestamps { last_access: time, last_modification: time })?)
    }

    /// Writes what an archive has into a directory. What it says of owners holds unless one was asked for.
    pub(super) fn archive(&self, archive: std::fs::File, to: &Path, bytes_max: u64) -> Result<()> {
        drop(self.make_dir(to)?);
        let plain = crate::archive::uncompressed(archive, bytes_max)?;
        let options = ExtractOptions { no_overwrite_dir_non_dir: false, owner: self.ways.owner };
        extract(&mut TarStream::new(plain), self.root, to, options)
    }

    /// Children change the times of their parents, so these come last, the deepest first.
    pub(super) fn end(self) -> Result<()> {
        for (path, times) in self.directories.iter().rev() {
            let Ok((dir, name)) = self.root.open_parent(path) else { continue };
            dir.set_times(name, times)?;
        }
        Ok(())
    }
}

/// Whether a file is a tar, compressed or not: an `ADD` unpacks it then.
pub(super) fn is_archive(file: std::fs::File, bytes_max: u64) -> bool {
    let Ok(plain) = crate::archive::uncompressed(file, bytes_max) else { return false };
    matches!(TarStream::new(plain).next_entry(), Ok(Some(_)))
}

/// Takes away what has the name now: files give way to files, directories stay.
fn make_way(dir: &Dir, name: &OsStr, to: &Path) -> Result<()> {
    match dir.stat(name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(stat) if kind(&stat) == FileType::Directory => {
            let text = format!("cannot replace to directory {} with file", to.display());
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
        Ok(_) => Ok(dir.remove_all(name)?),
    }
}

fn times(stat: &Stat, latest: Option<i64>) -> Timestamps {
    #[expect(clippy::useless_conversion, reason = "the width of these fields depends on the architecture")]
    let own = Timespec { tv_sec: stat.st_mtime.into(), tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0) };
    let time = match latest {
        Some(latest) if own.tv_sec >= latest => Timespec { tv_sec: latest, tv_nsec: 0 },
        _ => own,
    };
    Timestamps { last_access: time, last_modification: time }
}

/// Where a source goes: into the destination under its name, or in its place.
pub(super) fn place(copier: &Copier<'_>, destination: &str, name: &OsString, is_dir: bool, several: bool) -> PathBuf {
    let at = Path::new(destination.trim_start_matches('/'));
    let at: PathBuf = at.components().collect();
    let into = destination.ends_with('/') || destination.ends_with("/.") || several || copier.is_dir(&at);
    if !is_dir && into { at.join(name) } else { at }
}
