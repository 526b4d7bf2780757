//! Modification times of directories, set when nothing more is written into them.
//!
//! A layer may have a million directories: beyond a limit they wait in an unnamed file, not in memory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use sys::rooted::RootFd;

use crate::error::Result;

/// Bytes kept in memory before they go to a file.
const MEMORY_BYTES_MAX: usize = 4 << 20;

/// The directories of one layer and their times, in the order of the archive.
#[derive(Debug, Default)]
pub(super) struct DirectoryTimes {
    memory: Vec<u8>,
    spilled: Option<BufWriter<File>>,
}

impl DirectoryTimes {
    /// Notes that the directory `path` shall have the time `modified` in the end.
    pub(super) fn push(&mut self, path: &Path, modified: Timespec) -> Result<()> {
        let path = path.as_os_str().as_bytes();
        let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
        self.memory.extend_from_slice(&modified.tv_sec.to_le_bytes());
        self.memory.extend_from_slice(&modified.tv_nsec.to_le_bytes());
        self.memory.extend_from_slice(&length.to_le_bytes());
        self.memory.extend_from_slice(path);
        if self.memory.len() > MEMORY_BYTES_MAX {
            let file = match &mut self.spilled {
                Some(file) => file,
                None => self.spilled.insert(BufWriter::new(unnamed_file()?)),
            };
            file.write_all(&self.memory)?;
            self.memory.clear();
        }
        Ok(())
    }

    /// Sets the times; what is no directory any more is passed over.
    pub(super) fn apply(&mut self, root: &RootFd) -> Result<()> {
        if let Some(spilled) = self.spilled.take() {
            let mut file = spilled.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.seek(SeekFrom::Start(0))?;
            apply_all(BufReader::new(file), root)?;
        }
        apply_all(self.memory.as_slice(), root)
    }
}

fn apply_all(mut records: impl Read, root: &RootFd) -> Result<()> {
    let mut head = [0; 20];
    loop {
        match records.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let field = |range: std::ops::Range<usize>| -> [u8; 8] { head[range].try_into().unwrap_or_default() };
        let time = Timespec { tv_sec: i64::from_le_bytes(field(0..8)), tv_nsec: i64::from_le_bytes(field(8..16)) };
        let length = u32::from_le_bytes(head[16..20].try_into().unwrap_or_default());
        let mut path = vec![0; length as usize];
        records.read_exact(&mut path)?;
        let times = Timestamps { last_access: time, last_modification: time };
        let path = Path::new(OsStr::from_bytes(&path));
        let Ok(dir) = root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) else {
            continue;
        };
        rustix::fs::futimens(&dir, &times).map_err(std::io::Error::from)?;
    }
}

/// A file that no other process can open and that is gone when closed.
fn unnamed_file() -> Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    match rustix::fs::open(
        std::env::temp_dir(),
        OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    ) {
        Ok(fd) => Ok(fd.into()),
        Err(_) => Ok(File::from(rustix::fs::memfd_create("directory-times", flags).map_err(std::io::Error::from)?)),
    }
}
