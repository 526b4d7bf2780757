//! Where `COPY` takes from: a tree of files that somebody else made, looked at through its root only.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use sha2::Digest as _;
use sys::rooted::{Dir, RootFd};

use crate::error::{Error, Result};
use crate::id::Digest;

use super::client::{FileStamp, LocalSource};
use super::dockerfile::ignore::Patterns;
use super::wildcard;

/// Files and directories that one `COPY` takes.
const ENTRIES_MAX: usize = 4 << 20;
/// Levels that are looked at; deeper trees are refused.
const DEPTH_MAX: usize = 512;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Bytes of a list of attribute names, and of one attribute: the kernel's own limits.
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Tree {
    root: RootFd,
    /// What is left out of it.
    ignore: Option<Arc<Patterns>>,
    /// A client's directory: everything in it belongs to root, and digests are remembered.
    local: Option<Arc<LocalSource>>,
}

/// Something that a source names.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Where it is under the root, without symlinks.
    pub(super) path: PathBuf,
    /// The path as it was written, for `--parents`.
    pub(super) written: PathBuf,
    /// Its last name as it was written.
    pub(super) name: OsString,
    pub(super) stat: Stat,
}

/// One file or directory to be copied.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Under the root.
    pub(super) path: PathBuf,
    /// Below what was chosen; empty for that itself.
    pub(super) below: PathBuf,
    pub(super) stat: Stat,
}

impl Chosen {
    pub(super) fn is_dir(&self) -> bool {
        kind(&self.stat) == FileType::Directory
    }
}

/// What a file is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Tree {
    /// A client's directory.
    pub(super) fn local(source: Arc<LocalSource>, ignore: Option<Arc<Patterns>>) -> Result<Self> {
        Ok(Self { root: RootFd::open(source.dir())?, ignore, local: Some(source) })
    }

    /// The files of a stage or an image.
    pub(super) fn of_layers(root: RootFd) -> Self {
        Self { root, ignore: None, local: None }
    }

    /// Everything of it belongs to root.
    pub(super) fn owned_by_root(&self) -> bool {
        self.local.is_some()
    }

    fn excluded(&self, path: &Path) -> bool {
        let Some(ignore) = &self.ignore else { return false };
        !path.as_os_str().is_empty() && ignore.excludes(&path.to_string_lossy())
    }

    /// What a source of `COPY` names: a path, or a pattern that may match nothing.
    ///
    /// # Errors
    /// `NotFound` for a path that is not there, or is left out.
    pub(super) fn choose(&self, source: &str) -> Result<Vec<Chosen>> {
        let written = super::state::clean(source);
        let written = Path::new(written.trim_start_matches('/'));
        if !wildcard::has_meta(source) {
            let name = written.file_name().unwrap_or_default().to_owned();
            return Ok(vec![self.follow(written, &name, source)?]);
        }
        let mut found = Vec::new();
        let parts: Vec<&OsStr> = written.components().map(Component::as_os_str).collect();
        self.matching(Path::new(""), &parts, &mut found)?;
        found.sort();
        let chosen = found.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_owned();
            self.follow(path, &name, source)
        });
        chosen.filter(|one| !matches!(one, Err(e) if e.kind() == crate::ErrorKind::NotFound)).collect()
    }

    /// What a path leads to, its last symlink followed too.
    fn follow(&self, path: &Path, name: &OsStr, source: &str) -> Result<Chosen> {
        let missing = || {
            Error::not_found(format!("failed to compute cache key: \"/{}\": not found", source.trim_start_matches('/')))
        };
        let real = self.root.resolve(path).map_err(|_| missing())?;
        let real = real.strip_prefix("/").unwrap_or(&real).to_owned();
        let mut stat = self.stat(&real).map_err(|_| missing())?;
        if real.as_os_str().is_empty() && self.owned_by_root() {
            // The directory of the engine's own that holds a context is nobody's but the engine's.
            stat.st_mode = 0o040_755;
        }
        let is_dir = kind(&stat) == FileType::Directory;
        // A directory that is left out may have files that are taken in again.
        if !is_dir && self.excluded(&real) {
            return Err(missing());
        }
        if is_dir && self.excluded(&real) {
            let chosen = Chosen { path: real.clone(), written: path.to_owned(), name: name.to_owned(), stat };
            if self.entries(&chosen, None)?.is_empty() {
                return Err(missing());
            }
        }
        Ok(Chosen { path: real, written: path.to_owned(), name: name.to_owned(), stat })
    }

    fn stat(&self, path: &Path) -> std::io::Result<Stat> {
        if path.as_os_str().is_empty() {
            return Ok(rustix::fs::fstat(&self.root)?);
        }
        let (dir, name) = self.root.open_parent(path)?;
        dir.stat(name)
    }

    /// Paths that match a pattern, part by part.
    fn matching(&self, at: &Path, parts: &[&OsStr], found: &mut Vec<PathBuf>) -> Result<()> {
        let Some((part, rest)) = parts.split_first() else {
            found.push(at.to_owned());
            return Ok(());
        };
        if found.len() >= ENTRIES_MAX {
            return Err(Error::invalid(format!("a pattern that matches more than {ENTRIES_MAX} files")));
        }
        let text = part.to_string_lossy();
        if !wildcard::has_meta(&text) {
            return self.matching(&at.join(part), rest, found);
        }
        let Ok(dir) = self.root.open_dir(at) else { return Ok(()) };
        for name in dir.names()? {
            let below = at.join(&name);
            let is_dir = dir.stat(&name).is_ok_and(|stat| kind(&stat) == FileType::Directory);
            let hidden = rest.is_empty() && !is_dir && self.excluded(&below);
            if !hidden && wildcard::matches(&text, &name.to_string_lossy())? {
                self.matching(&below, rest, found)?;
            }
        }
        Ok(())
    }

    /// Everything below what was chosen, parents first, itself included; without what is left out. `exclude` patterns
    /// are relative to it.
    ///
    /// # Errors
    /// `InvalidArgument` when there is too much; those of reading directories.
    pub(super) fn entries(&self, chosen: &Chosen, exclude: Option<&Patterns>) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        if !chosen.is_dir() {
            let excluded = exclude.is_some_and(|patterns| patterns.excludes(&chosen.name.to_string_lossy()));
            let only = Entry { path: chosen.path.clone(), below: PathBuf::new(), stat: chosen.stat };
            return Ok(if excluded { all } else { vec![only] });
        }
        let dir = self.root.open_dir(&chosen.path)?;
        let top = Entry { path: chosen.path.clone(), below: PathBuf::new(), stat: chosen.stat };
        self.walk(&dir, top, exclude, &mut all, DEPTH_MAX)?;
        Ok(all)
    }

    fn walk(
        &self,
        dir: &Dir,
        here: Entry,
        exclude: Option<&Patterns>,
        all: &mut Vec<Entry>,
        depth: usize,
    ) -> Result<()> {
        if depth == 0 || all.len() >= ENTRIES_MAX {
            let shown = here.path.display();
            return Err(Error::invalid(format!("{shown}: more than {DEPTH_MAX} levels or {ENTRIES_MAX} files")));
        }
        let (path, below) = (here.path.clone(), here.below.clone());
        let hidden = |path: &Path, below: &Path| {
            let by_flag =
                exclude.is_some_and(|p| !below.as_os_str().is_empty() && p.excludes(&below.to_string_lossy()));
            by_flag || self.excluded(path)
        };
        let at = all.len();
        let itself_hidden = hidden(&path, &below);
        all.push(here);
        let mut names = dir.names()?;
        names.sort();
        for name in names {
            let stat = dir.stat(&name)?;
            let entry = Entry { path: path.join(&name), below: below.join(&name), stat };
            if kind(&stat) == FileType::Directory {
                self.walk(&dir.open_dir(&name)?, entry, exclude, all, depth - 1)?;
            } else if !hidden(&entry.path, &entry.below) {
                all.push(entry);
            }
        }
        if itself_hidden && all.len() == at + 1 {
            all.pop();
        }
        Ok(())
    }

    /// Opens the directory that an entry is in.
    pub(super) fn parent(&self, path: &Path) -> Result<Dir> {
        Ok(self.root.open_dir(path.parent().unwrap_or(Path::new("")))?)
    }

    /// Opens a regular file.
    pub(super) fn open(&self, path: &Path) -> Result<std::fs::File> {
        let (dir, name) = self.root.open_parent(path)?;
        dir.open_regular(name).map_err(|e| Error::from(e).context(path.display()))
    }

    /// The digest of entries: names, kinds, modes, owners, contents and attributes; times do not count.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn digest(&self, entries: &[Entry]) -> Result<Digest> {
        let mut hash = sha2::Sha256::new();
        let mut open: Option<(PathBuf, Dir)> = None;
        for entry in entries {
            let parent = entry.path.parent().unwrap_or(Path::new(""));
            if open.as_ref().is_none_or(|(path, _)| path != parent) {
                open = Some((parent.to_owned(), self.root.open_dir(parent)?));
            }
            let Some((_, dir)) = &open else { continue };
            self.digest_one(&mut hash, dir, entry)?;
        }
        Ok(Digest::from_bytes(hash.finalize().into()))
    }

    fn digest_one(&self, hash: &mut sha2::Sha256, dir: &Dir, entry: &Entry) -> Result<()> {
        let stat = &entry.stat;
        let (uid, gid) = if self.owned_by_root() { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(entry.below.as_os_str().as_bytes());
        field(format!("{:o} {uid} {gid}", stat.st_mode).as_bytes());
        let name = entry.path.file_name().unwrap_or_default();
        match kind(stat) {
            FileType::RegularFile => field(self.file_digest(dir, name, entry)?.to_string().as_bytes()),
            FileType::Symlink => field(dir.read_link(name)?.as_bytes()),
            FileType::CharacterDevice | FileType::BlockDevice => field(&stat.st_rdev.to_le_bytes()),
            _ => {}
        }
        if !name.is_empty() {
            for (name, value) in xattrs(dir, name)? {
                field(name.as_bytes());
                field(&value);
            }
        }
        Ok(())
    }

    fn file_digest(&self, dir: &Dir, name: &OsStr, entry: &Entry) -> Result<Digest> {
        let stat = &entry.stat;
        #[expect(clippy::useless_conversion, reason = "the width of these fields depends on the architecture")]
        let stamp = FileStamp {
            size: stat.st_size,
            inode: stat.st_ino,
            changed: (i64::from(stat.st_ctime), stat.st_ctime_nsec.try_into().unwrap_or(0)),
        };
        if let Some(known) = self.local.as_ref().and_then(|local| local.known_digest(&entry.path, stamp)) {
            return Ok(known);
        }
        let mut file = dir.open_regular(name).map_err(|e| Error::from(e).context(entry.path.display()))?;
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(stat.st_size).unwrap_or(READ_BYTES).max(1))];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        let digest = Digest::from_bytes(hash.finalize().into());
        if let Some(local) = &self.local {
            local.note_digest(&entry.path, stamp, digest);
        }
        Ok(digest)
    }
}

/// Capabilities and the user's own attributes, which are copied with a file.
pub(super) fn xattrs(dir: &Dir, name: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>> {
    let mut kept = Vec::new();
    for attribute in dir.xattr_names(name, XATTR_BYTES_MAX)? {
        let bytes = attribute.as_bytes();
        let wanted = bytes == b"security.capability" || bytes.starts_with(b"user.");
        if wanted
            && !bytes.starts_with(b"user.overlay.")
            && let Some(value) = dir.get_xattr(name, &attribute, XATTR_BYTES_MAX)?
        {
            kept.push((attribute, value));
        }
    }
    kept.sort();
    Ok(kept)
}
