//! Log files of containers: lines in CRI or json-file format, rotated by size.
//!
//! Writes are made at once and in whole lines, so that nothing is lost with the shim, and memory is bounded by one
//! part of a line for each stream. When the disk is full lines are lost, not the container.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use shim_api::log_format::{LINE_BYTES_MAX, Stream, write_cri, write_json};
use shim_api::options::LogSink;

/// Writes the log of one process.
#[derive(Debug)]
pub(crate) struct LogWriter {
    sink: LogSink,
    file: Option<File>,
    /// Size of the current file.
    bytes: u64,
    /// The line that has not ended yet, for each stream.
    pending: [Vec<u8>; 2],
    /// The last write was cut short: the next one begins a new line.
    torn: bool,
}

impl LogWriter {
    /// Opens (or makes) the log file.
    pub(crate) fn open(sink: LogSink) -> io::Result<Self> {
        let mut writer = Self { sink, file: None, bytes: 0, pending: [Vec::new(), Vec::new()], torn: false };
        writer.reopen()?;
        Ok(writer)
    }

    fn path(&self) -> Option<&Path> {
        match &self.sink {
            LogSink::Null => None,
            LogSink::CriFile { path } | LogSink::JsonFile { path, .. } => Some(path),
        }
    }

    /// Goes on in the file that has the log's name now.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = self.path() else { return Ok(()) };
        // The folder is the engine's or the kubelet's; what has the log's name there must still be a plain file.
        let no_follow = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("log {}: {e}", path.display()));
        let open = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(no_follow).open(path);
        let file = open.map_err(named)?;
        let metadata = file.metadata().map_err(named)?;
        if !metadata.is_file() {
            return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")));
        }
        self.bytes = metadata.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes what a process wrote. Complete lines are written; the rest waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, mut chunk: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let now = shim_api::time::now_unix_ns();
        let mut out = Vec::with_capacity(chunk.len() + chunk.len() / 8 + 128);
        while !chunk.is_empty() {
            let pending = self.pending[slot(stream)].len();
            let room = LINE_BYTES_MAX - pending;
            let newline = chunk.iter().take(room).position(|byte| *byte == b'\n');
            match newline {
                Some(at) => {
                    self.put(&mut out, now, stream, &chunk[..at], false);
                    chunk = &chunk[at + 1..];
                }
                // Exactly full and ended by the next byte: one whole line, not a part and an empty one.
                None if chunk.len() > room && chunk[room] == b'\n' => {
                    self.put(&mut out, now, stream, &chunk[..room], false);
                    chunk = &chunk[room + 1..];
                }
                None if chunk.len() > room => {
                    self.put(&mut out, now, stream, &chunk[..room], true);
                    chunk = &chunk[room..];
                }
                None => {
                    self.pending[slot(stream)].extend_from_slice(chunk);
                    chunk = &[];
                }
            }
        }
        self.append(&out);
    }

    /// Writes a line that has no end, since the stream has ended.
    pub(crate) fn flush(&mut self, stream: Stream) {
        if self.file.is_none() || self.pending[slot(stream)].is_empty() {
            return;
        }
        let mut out = Vec::new();
        self.put(&mut out, shim_api::time::now_unix_ns(), stream, &[], true);
        self.append(&out);
    }

    fn put(&mut self, out: &mut Vec<u8>, now: i64, stream: Stream, rest: &[u8], partial: bool) {
        let mut line = std::mem::take(&mut self.pending[slot(stream)]);
        let text = if line.is_empty() {
            rest
        } else {
            line.extend_from_slice(rest);
            &line
        };
        match self.sink {
            LogSink::CriFile { .. } => write_cri(out, now, stream, text, partial),
            LogSink::JsonFile { .. } => write_json(out, now, stream, text, partial),
            LogSink::Null => {}
        }
    }

    /// Appends whole records, as many to each file as its limit allows: one read of a pipe may bring several files full.
    fn append(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            let mut fitting = whole_records(records, self.room());
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
                fitting = records.iter().position(|byte| *byte == b'\n').map_or(records.len(), |at| at + 1);
            }
            let (now, later) = records.split_at(fitting);
            self.append_to_file(now);
            records = later;
        }
    }

    /// Bytes that the current file may still take.
    fn room(&self) -> u64 {
        match &self.sink {
            LogSink::JsonFile { max_bytes: Some(limit), .. } => limit.saturating_sub(self.bytes),
            _ => u64::MAX,
        }
    }

    fn append_to_file(&mut self, text: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if self.torn && file.write_all(b"\n").is_err() {
            return;
        }
        match file.write_all(text) {
            Ok(()) => {
                self.bytes += text.len() as u64;
                self.torn = false;
            }
            Err(e) => {
                if !self.torn {
                    crate::journal::say(&format!("write log: {e}; lines are lost until it works again"));
                }
                self.torn = true;
            }
        }
    }

    /// Begins a new file. `false`: not now, the current one has to go on.
    fn rotate(&mut self) -> io::Result<bool> {
        let LogSink::JsonFile { path, max_files, compress, .. } = &self.sink else { return Ok(false) };
        if *max_files < 2 {
            if let Some(file) = &self.file {
                file.set_len(0)?;
            }
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

/// Length of the records at the start of `text` that fit into `room` bytes. Each ends with its only newline.
fn whole_records(text: &[u8], room: u64) -> usize {
    match usize::try_from(room) {
        Ok(room) if room < text.len() => text[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
        _ => text.len(),
    }
}

const fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// `path.N`
fn numbered(path: &Path, number: u32) -> PathBuf {
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

#[cfg(test)]
mod tests {
    use shim_api::log_format::{parse_cri, parse_json};

    use super::*;

    fn lines(path: &Path) -> Vec<Vec<u8>> {
        std::fs::read(path).unwrap().split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn lines_are_written_when_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogWriter::open(LogSink::CriFile { path: path.clone() }).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        assert_eq!(lines(&path).len(), 2);
        log.write(Stream::Stdout, b"o\n");
        log.write(Stream::Stdout, b"end");
        log.flush(Stream::Stdout);
        let read: Vec<_> = lines(&path).iter().map(|l| parse_cri(l).unwrap()).collect();
        let texts: Vec<_> = read.iter().map(|l| (&l.message[..], l.partial)).collect();
        assert_eq!(texts, [(&b"one"[..], false), (b"err", false), (b"two", false), (b"end", true)]);
    }

    #[test]
    fn a_long_line_is_written_in_parts_and_none_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        for len in [LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX] {
            let path = folder.path().join(len.to_string());
            let mut log = LogWriter::open(LogSink::CriFile { path: path.clone() }).unwrap();
            let mut text = vec![b'x'; len];
            text.push(b'\n');
            log.write(Stream::Stdout, &text);
            let read: Vec<_> = lines(&path).iter().map(|l| parse_cri(l).unwrap()).collect();
            assert_eq!(read.len(), len.div_ceil(LINE_BYTES_MAX));
            assert!(read.iter().all(|l| !l.message.is_empty()));
            assert_eq!(read.iter().map(|l| l.message.len()).sum::<usize>(), len);
            assert!(!read.last().unwrap().partial);
        }
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_every_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let sink = LogSink::JsonFile { path: path.clone(), max_bytes: Some(500), max_files: 3, compress: false };
        let mut log = LogWriter::open(sink).unwrap();
        for number in 0..40 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
        }
        assert!(!numbered(&path, 3).exists());
        let mut numbers = Vec::new();
        for file in [numbered(&path, 2), numbered(&path, 1), path] {
            assert!(std::fs::metadata(&file).unwrap().len() <= 500);
            numbers.extend(lines(&file).iter().map(|l| String::from_utf8(parse_json(l).unwrap().message).unwrap()));
        }
        let expected: Vec<_> = (40 - numbers.len()..40).map(|n| format!("line {n}")).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn one_large_write_is_rotated_as_many_small_ones_are() {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..200).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        for max_files in [1, 2, 3] {
            let path = folder.path().join(format!("{max_files}.log"));
            let sink = LogSink::JsonFile { path: path.clone(), max_bytes: Some(500), max_files, compress: false };
            LogWriter::open(sink).unwrap().write(Stream::Stdout, &text);
            let mut numbers = Vec::new();
            for number in (0..max_files).rev() {
                let file = if number == 0 { path.clone() } else { numbered(&path, number) };
                let bytes = std::fs::metadata(&file).unwrap().len();
                assert!((1..=500).contains(&bytes), "{}: {bytes}", file.display());
                numbers.extend(lines(&file).iter().map(|l| String::from_utf8(parse_json(l).unwrap().message).unwrap()));
            }
            let expected: Vec<_> = (200 - numbers.len()..200).map(|n| format!("line {n}")).collect();
            assert_eq!(numbers, expected);
        }
    }

    #[test]
    fn records_over_the_limit_get_a_file_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let sink = LogSink::JsonFile { path: path.clone(), max_bytes: Some(10), max_files: 3, compress: false };
        LogWriter::open(sink).unwrap().write(Stream::Stdout, b"a\nb\nc\nd\n");
        for (file, message) in [(numbered(&path, 2), b"b"), (numbered(&path, 1), b"c"), (path, b"d")] {
            let kept: Vec<_> = lines(&file).iter().map(|l| parse_json(l).unwrap().message).collect();
            assert_eq!(kept, [message]);
        }
    }

    #[test]
    fn a_symlink_is_not_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(LogWriter::open(LogSink::CriFile { path }).is_err());
    }
}
