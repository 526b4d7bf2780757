//! What a process writes -> lines of its log: cut at newlines, and at the longest length that a log takes.
//!
//! Memory is bounded by one part of a line for each stream, and by the queue of a receiver.

use std::io;
use std::rc::Rc;

use shim_api::log_format::{LINE_BYTES_MAX, Stream};
use shim_api::options::{LogSink, RotatedFiles};

use super::log_file::LogFile;
use super::remote_log::{Record, RemoteLog};

/// Writes the log of one process.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: Option<LogFile>,
    remote: Option<Rc<RemoteLog>>,
    /// The line that has not ended yet, for each stream.
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    /// Opens (or makes) the log.
    pub(crate) fn open(sink: LogSink) -> io::Result<Self> {
        let (file, remote) = match sink {
            LogSink::Null => (None, None),
            LogSink::CriFile { path } => (Some(LogFile::cri(path)?), None),
            LogSink::JsonFile { path, max_bytes, max_files, compress, attributes } => {
                let files = RotatedFiles { path, max_bytes, max_files, compress };
                (Some(LogFile::json(files, &attributes)?), None)
            }
            LogSink::LocalFile(files) => (Some(LogFile::local(files)?), None),
            LogSink::Remote { receiver, queue_bytes_max, blocking, cache } => {
                let remote = RemoteLog::start(receiver, queue_bytes_max, blocking);
                (cache.map(LogFile::local).transpose()?, Some(remote))
            }
        };
        Ok(Self { file, remote, pending: [Vec::new(), Vec::new()] })
    }

    /// Goes on in the file that has the log's name now.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), LogFile::reopen)
    }

    /// Who is sent the lines, if anyone.
    pub(crate) const fn remote(&self) -> Option<&Rc<RemoteLog>> {
        self.remote.as_ref()
    }

    const fn is_kept(&self) -> bool {
        self.file.is_some() || self.remote.is_some()
    }

    /// Takes what a process wrote. Complete lines are written; the rest waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, mut chunk: &[u8]) {
        if !self.is_kept() {
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
        if !self.is_kept() || self.pending[slot(stream)].is_empty() {
            return;
        }
        let mut out = Vec::new();
        self.put(&mut out, shim_api::time::now_unix_ns(), stream, &[], true);
        self.append(&out);
    }

    fn put(&mut self, out: &mut Vec<u8>, time_ns: i64, stream: Stream, rest: &[u8], partial: bool) {
        let mut line = std::mem::take(&mut self.pending[slot(stream)]);
        let text = if line.is_empty() {
            rest
        } else {
            line.extend_from_slice(rest);
            &line
        };
        if let Some(file) = &self.file {
            file.encode(out, time_ns, stream, text, partial);
        }
        if let Some(remote) = &self.remote {
            remote.push(Record { time_ns, stream, partial, text: text.to_vec() });
        }
    }

    fn append(&mut self, records: &[u8]) {
        if let Some(file) = &mut self.file {
            file.append(records);
        }
    }
}

const fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use shim_api::log_format::{local_record_len, parse_cri, parse_json, parse_local};

    use super::super::log_file::numbered;
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
        let sink = LogSink::JsonFile {
            path: path.clone(),
            max_bytes: Some(500),
            max_files: 3,
            compress: false,
            attributes: BTreeMap::new(),
        };
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
            let sink = LogSink::JsonFile {
                path: path.clone(),
                max_bytes: Some(500),
                max_files,
                compress: false,
                attributes: BTreeMap::new(),
            };
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
        let sink = LogSink::JsonFile {
            path: path.clone(),
            max_bytes: Some(10),
            max_files: 3,
            compress: false,
            attributes: BTreeMap::new(),
        };
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

    fn messages(path: &Path) -> Vec<String> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while let Some(length) = local_record_len(rest) {
            messages.push(String::from_utf8(parse_local(&rest[4..length - 4]).unwrap().message).unwrap());
            rest = &rest[length..];
        }
        messages
    }

    #[test]
    fn local_records_are_rotated_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("container.log");
        let files = RotatedFiles { path: path.clone(), max_bytes: Some(500), max_files: 3, compress: false };
        let text: Vec<u8> = (0..200).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        LogWriter::open(LogSink::LocalFile(files)).unwrap().write(Stream::Stdout, &text);
        let mut kept = Vec::new();
        for file in [numbered(&path, 2), numbered(&path, 1), path] {
            assert!((1..=500).contains(&std::fs::metadata(&file).unwrap().len()));
            kept.extend(messages(&file));
        }
        let expected: Vec<_> = (200 - kept.len()..200).map(|n| format!("line {n}")).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_record_cut_short_does_not_hide_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("container.log");
        let files = RotatedFiles { path: path.clone(), max_bytes: None, max_files: 2, compress: false };
        let sink = LogSink::LocalFile(files);
        LogWriter::open(sink.clone()).unwrap().write(Stream::Stdout, b"one\ntwo\n");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        LogWriter::open(sink).unwrap().write(Stream::Stdout, b"three\n");
        assert_eq!(messages(&numbered(&path, 1)), ["one"]);
        assert_eq!(messages(&path), ["three"]);
    }
}
