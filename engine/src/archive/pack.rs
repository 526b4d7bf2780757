//! A tree of files, written as a tar: owners, modes, times, links, devices, and the attributes that mean something to
//! others.
//!
//! Whoever lives in the tree may change it meanwhile. Every name is opened without following it, only regular files are
//! opened at all, and an entry always has as many bytes as its header says.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, OFlags, Stat};
use sys::rooted::Dir;

use crate::error::{Error, Result};

/// Levels that are read; deeper trees are refused.
const DEPTH_MAX: usize = 512;
/// Bytes of a list of attribute names, and of one attribute: the kernel's own limits.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a name in a ustar header.
const NAME_BYTES_MAX: usize = 100;
/// The largest number of seven octal digits.
const OCTAL_MAX: u64 = 0o777_7777;
const XATTR_OPAQUE: &str = "trusted.overlay.opaque";
/// What an overlay without plain files keeps in attributes: a layer cannot be made of it.
const XATTRS_REFUSED: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// What overlayfs' own marks become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// A merged tree: it has none.
    None,
    /// A writable layer: whiteouts and opaque directories become what a layer's tar has for them.
    Layer,
}

/// Writes entries.
pub(crate) struct Packer<W: Write> {
    tar: tar::Builder<W>,
    marks: Marks,
    /// Where an inode with several links was first written.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Paths that are not written.
    left_out: HashSet<Vec<u8>>,
    /// The latest time that an entry may have, unix seconds.
    latest: Option<i64>,
}

impl<W: Write> Packer<W> {
    /// Writes to `sink`.
    pub(crate) fn new(sink: W, marks: Marks) -> Self {
        Self { tar: tar::Builder::new(sink), marks, links: HashMap::new(), left_out: HashSet::new(), latest: None }
    }

    /// Paths that are not to be written.
    pub(crate) fn leave_out(&mut self, paths: HashSet<Vec<u8>>) {
        self.left_out = paths;
    }

    /// Later times than this one (unix seconds) become this one.
    pub(crate) fn not_later_than(&mut self, latest: Option<i64>) {
        self.latest = latest;
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn finish(self) -> Result<W> {
        let mut sink = self.tar.into_inner()?;
        sink.flush()?;
        Ok(sink)
    }

    /// What `name` in `dir` is, with everything below it, under the name `path`.
    ///
    /// # Errors
    /// The first that occurs, naming the path.
    pub(crate) fn entry(&mut self, dir: &Dir, name: &OsStr, path: &[u8]) -> Result<()> {
        self.below(dir, name, path, DEPTH_MAX)
    }

    /// A directory that is open, with everything below it; its own entry is `path`, none when that is empty.
    ///
    /// # Errors
    /// The first that occurs, naming the path.
    pub(crate) fn tree(&mut self, dir: &Dir, path: &[u8]) -> Result<()> {
        if !path.is_empty() {
            let stat = rustix::fs::fstat(dir).map_err(io::Error::from)?;
            self.head(&slashed(path), &stat, tar::EntryType::Directory, &[], &[])?;
        }
        self.contents(dir, path, DEPTH_MAX)
    }

    fn below(&mut self, dir: &Dir, name: &OsStr, path: &[u8], depth: usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::invalid(format!("{}: more than {DEPTH_MAX} levels", shown(path))));
        }
        if self.left_out.contains(path) {
            return Ok(());
        }
        match self.one(dir, name, path, depth) {
            // It went away between the list and the look.
            Err(error) if gone(&error) => Ok(()),
            other => other,
        }
    }

    fn one(&mut self, dir: &Dir, name: &OsStr, path: &[u8], depth: usize) -> Result<()> {
        let stat = dir.stat(name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.marks == Marks::Layer && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return self.whiteout(path, &stat);
        }
        let linked = kind != FileType::Directory && stat.st_nlink > 1;
        if linked {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                return self.head(path, &stat, tar::EntryType::Link, &first, &[]);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        match kind {
            FileType::RegularFile => self.file(dir, name, path),
            FileType::Symlink => {
                let target = dir.read_link(name)?;
                self.head(path, &stat, tar::EntryType::Symlink, target.as_bytes(), &[])
            }
            FileType::Directory => self.directory(dir, name, path, &stat, depth),
            FileType::CharacterDevice => self.head(path, &stat, tar::EntryType::Char, &[], &[]),
            FileType::BlockDevice => self.head(path, &stat, tar::EntryType::Block, &[], &[]),
            FileType::Fifo => self.head(path, &stat, tar::EntryType::Fifo, &[], &[]),
            // A tar has no sockets.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, dir: &Dir, name: &OsStr, path: &[u8], stat: &Stat, depth: usize) -> Result<()> {
        let xattrs = self.xattrs(dir, name)?;
        self.head(&slashed(path), stat, tar::EntryType::Directory, &[], &xattrs)?;
        let opened = Dir::from_fd(dir.open(name, OFlags::RDONLY | OFlags::DIRECTORY)?);
        if self.marks == Marks::Layer && dir.get_xattr(name, OsStr::new(XATTR_OPAQUE), 8)?.as_deref() == Some(b"y") {
            self.empty_file(&[path, b"/.wh..wh..opq"].concat(), stat)?;
        }
        self.contents(&opened, path, depth - 1)
    }

    fn contents(&mut self, dir: &Dir, path: &[u8], depth: usize) -> Result<()> {
        let mut names = dir.names()?;
        names.sort();
        for name in names {
            let below = match path {
                [] | b"/" => [path, name.as_bytes()].concat(),
                _ => [path, b"/", name.as_bytes()].concat(),
            };
            self.below(dir, &name, &below, depth)?;
        }
        Ok(())
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, path: &[u8]) -> Result<()> {
        let file = dir.open_regular(name).map_err(|e| Error::from(e).context(shown(path)))?;
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        let xattrs = self.xattrs(dir, name)?;
        let mut header = self.header(path, &stat, tar::EntryType::Regular, &[], &xattrs)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        header.set_cksum();
        // What grows is cut off, what shrinks is filled up: the header has said its size.
        let exact = file.take(size).chain(io::repeat(0)).take(size);
        self.tar.append(&header, exact).map_err(|e| Error::from(e).context(shown(path)))
    }

    fn whiteout(&mut self, path: &[u8], stat: &Stat) -> Result<()> {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        self.empty_file(&[&path[..at], b".wh.", &path[at..]].concat(), stat)
    }

    fn empty_file(&mut self, path: &[u8], stat: &Stat) -> Result<()> {
        let mut stat = *stat;
        stat.st_mode = 0o100_644;
        self.head(path, &stat, tar::EntryType::Regular, &[], &[])
    }

    fn head(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: tar::EntryType,
        link: &[u8],
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        let mut header = self.header(path, stat, kind, link, xattrs)?;
        header.set_size(0);
        header.set_cksum();
        self.tar.append(&header, io::empty()).map_err(|e| Error::from(e).context(shown(path)))
    }

    /// The header, after the extended one that says what does not fit into it.
    fn header(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: tar::EntryType,
        link: &[u8],
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<tar::Header> {
        let mut header = tar::Header::new_ustar();
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut text = |field: &mut [u8], key: &str, value: &[u8]| {
            let fits = value.len().min(NAME_BYTES_MAX);
            field[..fits].copy_from_slice(&value[..fits]);
            if value.len() > NAME_BYTES_MAX || !value.is_ascii() {
                records.push((key.to_owned(), value.to_vec()));
            }
        };
        {
            let raw = header.as_old_mut();
            text(&mut raw.name, "path", path);
            text(&mut raw.linkname, "linkpath", link);
        }
        for (key, id) in [("uid", u64::from(stat.st_uid)), ("gid", u64::from(stat.st_gid))] {
            if id > OCTAL_MAX {
                records.push((key.to_owned(), id.to_string().into_bytes()));
            }
        }
        let seconds = self.latest.map_or(stat.st_mtime, |latest| latest.min(stat.st_mtime));
        match u64::try_from(seconds) {
            Ok(after_1970) => header.set_mtime(after_1970),
            Err(_) => records.push(("mtime".to_owned(), seconds.to_string().into_bytes())),
        }
        for (name, value) in xattrs {
            records.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value.clone()));
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(records)?;
        }
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid).min(OCTAL_MAX));
        header.set_gid(u64::from(stat.st_gid).min(OCTAL_MAX));
        if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
        }
        Ok(header)
    }

    /// Capabilities and the user's own attributes.
    fn xattrs(&self, dir: &Dir, name: &OsStr) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut kept = Vec::new();
        for attribute in dir.xattr_names(name, XATTR_BYTES_MAX)? {
            let bytes = attribute.as_bytes();
            if self.marks == Marks::Layer && XATTRS_REFUSED.iter().any(|refused| bytes == refused.as_bytes()) {
                return Err(Error::not_implemented(format!(
                    "a writable layer that overlayfs has written with {}: mount it with redirect_dir=off",
                    attribute.display()
                )));
            }
            if (bytes == b"security.capability" || bytes.starts_with(b"user."))
                && !bytes.starts_with(b"user.overlay.")
                && let Some(value) = dir.get_xattr(name, &attribute, XATTR_BYTES_MAX)?
            {
                kept.push((bytes.to_vec(), value));
            }
        }
        kept.sort();
        Ok(kept)
    }
}

fn slashed(path: &[u8]) -> Vec<u8> {
    if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn gone(error: &Error) -> bool {
    use std::error::Error as _;
    let raw = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    raw.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
