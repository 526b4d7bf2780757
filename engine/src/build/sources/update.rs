//! Brings a kept directory up to date with what its client has now.
//!
//! The list of entries comes first or mixed with contents; an entry that is as the index has it is left alone, anything
//! else is made anew. Files are written by descriptor, below directories that are opened name by name.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sys::rooted::{Dir, RootFd};

use crate::build::client::{FileStamp, LocalSource};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;

use super::entry::Order;
use super::{Slot, SourceEntry, SourceKind};

/// The most entries that a directory may have.
const ENTRIES_MAX: usize = 2_000_000;
/// The most bytes that one update may bring.
const BYTES_MAX: u64 = 64 << 30;
/// The most bytes of one entry's attributes.
const XATTR_BYTES_MAX: usize = 64 << 10;
/// Files asked for at once. Clients queue 128; more than that could block both sides.
const WRITING_MAX: usize = 64;

/// An entry as it is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    entry: SourceEntry,
    /// The digest of a file's bytes, and what tells that it still holds.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    digest: Option<(Digest, FileStamp)>,
    /// It was made anew by this update.
    #[serde(skip)]
    made: bool,
}

/// A file whose bytes are coming in.
#[derive(Debug)]
struct Writing {
    path: String,
    file: std::fs::File,
    hash: Sha256,
}

/// A directory of a client on its way to what the client has now. All methods block.
#[derive(Debug)]
pub struct SourceUpdate {
    slot: Slot,
    fs: Dir,
    old: HashMap<String, Known>,
    new: HashMap<String, Known>,
    order: Order,
    /// Files to be asked for: number and path.
    wanted: VecDeque<(u32, String)>,
    writing: HashMap<u32, Writing>,
    /// Directories whose times have to be set once nothing is made in them any more.
    touched: BTreeSet<String>,
    count: u32,
    bytes: u64,
}

impl SourceUpdate {
    pub(super) fn begin(slot: Slot) -> Result<Self> {
        let (fs, index) = (slot.dir.join("fs"), slot.dir.join("index"));
        let old = read_index(&index);
        if old.is_none() && slot.dir.exists() {
            std::fs::remove_dir_all(&slot.dir)?;
        }
        if old.is_some() {
            std::fs::remove_file(&index)?;
        }
        crate::content::make_private_dir(&fs)?;
        let fs = RootFd::open(&fs)?.open_dir(Path::new(""))?;
        Ok(Self {
            slot,
            fs,
            old: old.unwrap_or_default(),
            new: HashMap::new(),
            order: Order::default(),
            wanted: VecDeque::new(),
            writing: HashMap::new(),
            touched: BTreeSet::new(),
            count: 0,
            bytes: 0,
        })
    }

    /// Takes the next entry of the list.
    ///
    /// # Errors
    /// `InvalidArgument` for a list that is no walk of a directory, `ResourceExhausted` for one that does not end.
    pub fn entry(&mut self, mut entry: SourceEntry) -> Result<()> {
        let number = self.count;
        self.order.next(&entry.path, entry.kind == SourceKind::Directory)?;
        if self.new.len() >= ENTRIES_MAX {
            let text = format!("the client's directory has more than {ENTRIES_MAX} entries");
            return Err(Error::new(ErrorKind::ResourceExhausted, text));
        }
        self.count += 1;
        entry.mode &= 0o7777;
        entry.xattrs.retain(|name, _| name.starts_with("user.") || name == "security.capability");
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if attributes > XATTR_BYTES_MAX || entry.link.len() > 4095 || entry.link.contains('\0') {
            return Err(Error::invalid(format!("attributes or link of {:?} are too long", entry.path)));
        }
        let path = entry.path.clone();
        match self.old.remove(&path) {
            Some(known) if known.entry == entry && self.still_holds(&entry) => {
                self.new.insert(path, known);
                Ok(())
            }
            known => self.make(entry, known, number).map_err(|error| error.context(format!("receive {path:?}"))),
        }
    }

    /// A further name holds only if the file that it names was not made anew.
    fn still_holds(&self, entry: &SourceEntry) -> bool {
        entry.kind != SourceKind::HardLink
            || self.new.get(&entry.link).is_some_and(|target| !target.made && target.digest.is_some())
    }

    fn make(&mut self, entry: SourceEntry, known: Option<Known>, number: u32) -> Result<()> {
        let (dir, name) = self.parent(&entry.path)?;
        let keeps_directory = entry.kind == SourceKind::Directory
            && known.as_ref().is_some_and(|known| known.entry.kind == SourceKind::Directory);
        if known.is_some() && !keeps_directory {
            dir.remove_all(name)?;
        }
        match entry.kind {
            SourceKind::Directory if !keeps_directory => dir.mkdir(name, Mode::from_raw_mode(0o700))?,
            SourceKind::Directory => {}
            SourceKind::Symlink => dir.symlink(name, OsStr::new(&entry.link))?,
            SourceKind::Fifo => dir.mknod(name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
            SourceKind::File => self.wanted.push_back((number, entry.path.clone())),
            SourceKind::HardLink => self.hard_link(&dir, name, &entry)?,
        }
        match entry.kind {
            SourceKind::Directory => drop(self.touched.insert(entry.path.clone())),
            SourceKind::File | SourceKind::HardLink => {}
            SourceKind::Symlink | SourceKind::Fifo => dress(&dir, name, &entry)?,
        }
        self.touched.insert(parent_of(&entry.path).to_owned());
        self.new.insert(entry.path.clone(), Known { entry, digest: None, made: true });
        Ok(())
    }

    /// Links to a file that came before; one whose bytes are still to come is linked when they have.
    fn hard_link(&self, dir: &Dir, name: &OsStr, entry: &SourceEntry) -> Result<()> {
        let target = self.new.get(&entry.link).filter(|target| target.entry.kind == SourceKind::File);
        let target = target.ok_or_else(|| {
            Error::invalid(format!("{:?} is a link to {:?}, which is no file before it", entry.path, entry.link))
        })?;
        if target.digest.is_some() {
            let (old, old_name) = self.parent(&target.entry.path)?;
            dir.link(name, &old, old_name)?;
        }
        Ok(())
    }

    /// The number of a file whose bytes should be asked for now, if any.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn next_wanted(&mut self) -> Result<Option<u32>> {
        if self.writing.len() >= WRITING_MAX {
            return Ok(None);
        }
        let Some((number, path)) = self.wanted.pop_front() else { return Ok(None) };
        let (dir, name) = self.parent(&path)?;
        let file = dir.create_file(name, Mode::from_raw_mode(0o600))?;
        self.writing.insert(number, Writing { path, file, hash: Sha256::new() });
        Ok(Some(number))
    }

    /// Takes bytes of a file that was asked for; no bytes mean its end.
    ///
    /// # Errors
    /// `InvalidArgument` for a file that was not asked for, `ResourceExhausted` for too many bytes.
    pub fn data(&mut self, number: u32, data: &[u8]) -> Result<()> {
        let unknown = || Error::invalid(format!("the client sends file {number}, which nobody asked for"));
        if data.is_empty() {
            let writing = self.writing.remove(&number).ok_or_else(unknown)?;
            return self.end_file(writing);
        }
        let writing = self.writing.get_mut(&number).ok_or_else(unknown)?;
        self.bytes += data.len() as u64;
        if self.bytes > BYTES_MAX {
            let text = format!("the client's directory has more than {BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::ResourceExhausted, text));
        }
        writing.hash.update(data);
        writing.file.write_all(data).map_err(|error| Error::from(error).context(format!("write {:?}", writing.path)))
    }

    fn end_file(&mut self, writing: Writing) -> Result<()> {
        let Writing { path, file, hash } = writing;
        drop(file);
        let (dir, name) = self.parent(&path)?;
        let Some(known) = self.new.get(&path) else { return Err(Error::internal("a file that was not listed")) };
        dress(&dir, name, &known.entry)?;
        let stamp = FileStamp::of(&dir.stat(name)?);
        let digest = Some((Digest::from_bytes(hash.finalize().into()), stamp));
        if let Some(known) = self.new.get_mut(&path) {
            known.digest = digest;
        }
        Ok(())
    }

    /// Whether all files that were asked for are here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.wanted.is_empty() && self.writing.is_empty()
    }

    /// Bytes of files that came in.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes what the client no longer has and gives the directory to a build.
    ///
    /// # Errors
    /// `InvalidArgument` when bytes of files are missing.
    pub fn finish(mut self) -> Result<Arc<LocalSource>> {
        if !self.is_complete() {
            return Err(Error::invalid("the client ended its directory before all files were sent"));
        }
        self.link_late()?;
        self.remove_gone()?;
        self.date_directories()?;
        write_index(&self.slot.dir, self.new.values())?;
        let digests = self.new.values().filter_map(|known| {
            let (digest, stamp) = known.digest?;
            Some((PathBuf::from(&known.entry.path), stamp, digest))
        });
        let digests: Vec<_> = digests.collect();
        let dir = self.slot.dir.join("fs");
        let source = LocalSource::new(dir, Some(Box::new(self.slot)));
        for (path, stamp, digest) in digests {
            source.note_digest(&path, stamp, digest);
        }
        Ok(Arc::new(source))
    }

    /// Links whose file came later than their entry.
    fn link_late(&mut self) -> Result<()> {
        let mut links: Vec<_> = self.new.values().filter(|known| known.entry.kind == SourceKind::HardLink).collect();
        links.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let mut stamps = Vec::new();
        for link in links {
            let (dir, name) = self.parent(&link.entry.path)?;
            let (target, target_name) = self.parent(&link.entry.link)?;
            if dir.stat(name).is_err() {
                dir.link(name, &target, target_name)?;
            }
            let Some((digest, _)) = self.new.get(&link.entry.link).and_then(|target| target.digest) else { continue };
            stamps.push((link.entry.link.clone(), link.entry.path.clone(), digest));
        }
        // A further link changes the time by which a file is known again.
        for (target, link, digest) in stamps {
            let (dir, name) = self.parent(&target)?;
            let stamp = FileStamp::of(&dir.stat(name)?);
            for path in [target, link] {
                if let Some(known) = self.new.get_mut(&path) {
                    known.digest = Some((digest, stamp));
                }
            }
        }
        Ok(())
    }

    fn remove_gone(&mut self) -> Result<()> {
        let is_directory = |path: &str| {
            path.is_empty() || self.new.get(path).is_some_and(|known| known.entry.kind == SourceKind::Directory)
        };
        let mut touched = Vec::new();
        for path in self.old.keys() {
            // What lay in a directory that goes, goes with it.
            let parent = parent_of(path);
            if !is_directory(parent) {
                continue;
            }
            let (dir, name) = self.parent(path)?;
            dir.remove_all(name)?;
            touched.push(parent.to_owned());
        }
        self.touched.extend(touched);
        Ok(())
    }

    fn date_directories(&self) -> Result<()> {
        for path in self.touched.iter().rev().filter(|path| !path.is_empty()) {
            let Some(known) = self.new.get(path) else { continue };
            let (dir, name) = self.parent(path)?;
            dress(&dir, name, &known.entry)?;
        }
        Ok(())
    }

    /// The directory that holds a path, opened name by name, and the last name.
    fn parent<'p>(&self, path: &'p str) -> Result<(Dir, &'p OsStr)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let fd = rustix::fs::openat(&self.fs, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut dir = Dir::from_fd(fd.map_err(std::io::Error::from)?);
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            dir = dir.open_dir(OsStr::new(part))?;
        }
        Ok((dir, OsStr::new(name)))
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Owner, attributes, mode and time, in the order in which one does not undo the other.
fn dress(dir: &Dir, name: &OsStr, entry: &SourceEntry) -> Result<()> {
    dir.chown(name, 0, 0)?;
    for (attribute, value) in &entry.xattrs {
        dir.set_xattr(name, OsStr::new(attribute), value)?;
    }
    if entry.kind != SourceKind::Symlink {
        dir.chmod(name, entry.mode)?;
    }
    let time = Timespec {
        tv_sec: entry.mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: entry.mtime_ns.rem_euclid(1_000_000_000),
    };
    dir.set_times(name, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}

fn read_index(path: &Path) -> Option<HashMap<String, Known>> {
    let file = std::fs::File::open(path).ok()?;
    let mut known = HashMap::new();
    for line in BufReader::new(file).lines() {
        let one: Known = serde_json::from_str(&line.ok()?).ok()?;
        known.insert(one.entry.path.clone(), one);
    }
    Some(known)
}

/// Written under another name first: an index is whole or absent.
fn write_index<'k>(dir: &Path, known: impl Iterator<Item = &'k Known>) -> Result<()> {
    let draft = dir.join("index.new");
    let mut file = BufWriter::new(std::fs::File::create(&draft)?);
    for one in known {
        serde_json::to_writer(&mut file, one).map_err(|e| Error::internal("write an index").with_source(e))?;
        file.write_all(b"\n")?;
    }
    file.into_inner().map_err(|e| Error::from(e.into_error()))?;
    std::fs::rename(draft, dir.join("index"))?;
    Ok(())
}
