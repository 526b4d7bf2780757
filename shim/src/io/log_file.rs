//! One log file of a container and its older ones: records appended whole, rotated by size.
//!
//! Writes are made at once, so that nothing is lost with the shim. When the disk is full lines are lost, not the
//! container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use shim_api::log_format::{
    LOCAL_FRAME_BYTES, LOCAL_MESSAGE_BYTES_MAX, Stream, json_attributes, local_record_len, write_cri, write_json,
    write_local,
};
use shim_api::options::RotatedFiles;

/// Form of the records.
#[derive(Debug)]
pub(super) enum RecordFormat {
    Cri,
    /// With what each record says beside its line, encoded.
    Json(Vec<u8>),
    Local,
}

/// A log file that is written.
#[derive(Debug)]
pub(super) struct LogFile {
    format: RecordFormat,
    files: RotatedFiles,
    file: File,
    /// Size of the current file.
    bytes: u64,
    /// The last write was cut short and could not be taken back: the next one begins a new line.
    torn: bool,
    /// Lines are being lost, and that was said.
    failing: bool,
}

impl LogFile {
    /// Opens (or makes) a log of the CRI, which others rotate.
    pub(super) fn cri(path: PathBuf) -> io::Result<Self> {
        Self::open(RecordFormat::Cri, RotatedFiles { path, max_bytes: None, max_files: 1, compress: false })
    }

    /// Opens (or makes) a json-file log.
    pub(super) fn json(files: RotatedFiles, attributes: &BTreeMap<String, String>) -> io::Result<Self> {
        Self::open(RecordFormat::Json(json_attributes(attributes)), files)
    }

    /// Opens (or makes) a local log. A record that was cut short at its end would hide what follows it: the file is
    /// rotated away.
    pub(super) fn local(files: RotatedFiles) -> io::Result<Self> {
        let mut log = Self::open(RecordFormat::Local, files)?;
        if !ends_whole(&log.files.path)? {
            log.rotate()?;
        }
        Ok(log)
    }

    fn open(format: RecordFormat, files: RotatedFiles) -> io::Result<Self> {
        let (file, bytes) = open_to_append(&files.path)?;
        Ok(Self { format, files, file, bytes, torn: false, failing: false })
    }

    /// Goes on in the file that has the log's name now.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = open_to_append(&self.files.path)?;
        Ok(())
    }

    /// Appends a record of a line to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>, time_ns: i64, stream: Stream, line: &[u8], partial: bool) {
        match &self.format {
            RecordFormat::Cri => write_cri(out, time_ns, stream, line, partial),
            RecordFormat::Json(attributes) => write_json(out, time_ns, stream, line, partial, attributes),
            RecordFormat::Local => write_local(out, time_ns, stream, line, partial),
        }
    }

    /// Appends whole records, as many to each file as its limit allows: one read of a pipe may bring several files full.
    pub(super) fn append(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            let mut fitting = self.whole_records(records, self.room());
            if fitting == 0 && self.bytes > 0 {
                match self.rotate() {
                    Ok(true) => continue,
                    Ok(false) => fitting = records.len(),
                    Err(e) => {
                        crate::journal::say(&format!("rotate log: {e}"));
                        fitting = records.len();
                    }
                }
            } else if fitting == 0 {
                // A record larger than the limit gets a file of its own.
                fitting = self.first_record(records);
            }
            let (now, later) = records.split_at(fitting);
            self.write(now);
            records = later;
        }
    }

    /// Bytes that the current file may still take.
    fn room(&self) -> u64 {
        self.files.max_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(self.bytes))
    }

    /// Length of the first record.
    fn first_record(&self, records: &[u8]) -> usize {
        let length = match self.format {
            RecordFormat::Local => local_record_len(records),
            RecordFormat::Cri | RecordFormat::Json(_) => {
                records.iter().position(|byte| *byte == b'\n').map(|newline| newline + 1)
            }
        };
        length.unwrap_or(records.len())
    }

    /// Length of the records at the start of `records` that fit into `room` bytes.
    fn whole_records(&self, records: &[u8], room: u64) -> usize {
        let room = match usize::try_from(room) {
            Ok(room) if room < records.len() => room,
            _ => return records.len(),
        };
        if !matches!(self.format, RecordFormat::Local) {
            // Each ends with its only newline.
            return records[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        }
        let mut whole = 0;
        while let Some(next) = local_record_len(&records[whole..]).filter(|next| whole + next <= room) {
            whole += next;
        }
        whole
    }

    fn write(&mut self, records: &[u8]) {
        if self.torn && self.file.write_all(b"\n").is_err() {
            return;
        }
        match self.file.write_all(records) {
            Ok(()) => {
                self.bytes += records.len() as u64;
                (self.torn, self.failing) = (false, false);
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    crate::journal::say(&format!("write log: {e}; lines are lost until it works again"));
                }
                self.torn = self.file.set_len(self.bytes).is_err();
            }
        }
    }

    /// Begins a new file. `false`: not now, the current one has to go on.
    fn rotate(&mut self) -> io::Result<bool> {
        let RotatedFiles { path, max_files, compress, .. } = &self.files;
        if matches!(self.format, RecordFormat::Cri) {
            return Ok(false);
        }
        if *max_files < 2 {
            self.file.set_len(0)?;
            self.bytes = 0;
            return Ok(true);
        }
        if *compress && compression::in_progress(path) {
            // The file being compressed must not change its name; this one grows a little beyond its limit.
            return Ok(false);
        }
        shift(path, *max_files)?;
        if *compress {
            compression::begin(&numbered(path, 1));
        }
        self.reopen()?;
        // What was not renamed away is opened again as it was.
        Ok(self.bytes == 0)
    }
}

/// The file with this name, made if it is missing, and its size.
fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    // The folder is the engine's or the kubelet's; what has the log's name there must still be a plain file.
    let no_follow = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("log {}: {e}", path.display()));
    let open = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(no_follow).open(path);
    let file = open.map_err(named)?;
    let metadata = file.metadata().map_err(named)?;
    if !metadata.is_file() {
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")));
    }
    let bytes = metadata.len();
    Ok((file, bytes))
}

/// Whether the last record of a file of the local format is whole.
fn ends_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut length_at = |at: u64| -> io::Result<u64> {
        let mut length = [0; LOCAL_FRAME_BYTES / 2];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut length)?;
        Ok(u64::from(u32::from_be_bytes(length)))
    };
    let frame = LOCAL_FRAME_BYTES as u64;
    if bytes < frame {
        return Ok(bytes == 0);
    }
    let length = length_at(bytes - frame / 2)?;
    match bytes.checked_sub(length + frame) {
        Some(start) if length <= LOCAL_MESSAGE_BYTES_MAX as u64 => Ok(length_at(start)? == length),
        _ => Ok(false),
    }
}

/// `path.N`
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn with_gz(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// Makes room for a new file: `path` becomes `path.1`, `path.1` becomes `path.2`; the oldest goes.
fn shift(path: &Path, files_max: u32) -> io::Result<()> {
    let rename = |from: &Path, to: &Path| match std::fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    let oldest = numbered(path, files_max - 1);
    for gone in [with_gz(&oldest), oldest] {
        match std::fs::remove_file(gone) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    for number in (1..files_max - 1).rev() {
        let (from, to) = (numbered(path, number), numbered(path, number + 1));
        rename(&with_gz(&from), &with_gz(&to))?;
        rename(&from, &to)?;
    }
    rename(path, &numbered(path, 1))
}

/// Compression of rotated files, in a clone of the shim, so that its one thread is not held up.
mod compression {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::with_gz;

    /// Name of the file while it is written.
    fn temporary(path: &Path) -> std::path::PathBuf {
        with_gz(path).with_extension("gz.new")
    }

    /// Whether the newest rotated file of the log at `path` is being compressed.
    pub(super) fn in_progress(path: &Path) -> bool {
        temporary(&super::numbered(path, 1)).exists()
    }

    /// Begins to replace `path` by `path.gz`.
    pub(super) fn begin(path: &Path) {
        let work = || compress(path);
        if let Err(e) = crate::runtime::builtin::raw::in_clone(work) {
            crate::journal::say(&format!("compress {}: {e}", path.display()));
        }
    }

    fn compress(path: &Path) -> io::Result<()> {
        let temporary = temporary(path);
        let mut encoder = GzEncoder::new(File::create(&temporary)?, Compression::default());
        let done = io::copy(&mut File::open(path)?, &mut encoder).and_then(|_len| encoder.finish());
        if let Err(e) = done {
            let _ = std::fs::remove_file(&temporary);
            return Err(e);
        }
        std::fs::rename(&temporary, with_gz(path))?;
        std::fs::remove_file(path)
    }
}
