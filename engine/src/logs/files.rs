//! The files of one log, and where the last lines begin. Blocking; memory is bounded by one block and one line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use shim_api::log_format::{LOCAL_FRAME_BYTES, LOCAL_MESSAGE_BYTES_MAX};

/// Bytes read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of one line; a longer one is passed over. The shim's lines are a fraction of it.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the length at both ends of a record.
const LENGTH_BYTES: usize = LOCAL_FRAME_BYTES / 2;
/// Rotated files that are looked for; the shim keeps fewer.
const FILES_MAX: u32 = 1000;

/// How the lines of a file are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each ends with its only newline.
    Newline,
    /// Each has its length in front and behind (docker's `local`).
    Length,
}

/// One open file of a log.
pub(crate) struct LogFile {
    framing: Framing,
    input: Box<dyn BufRead + Send>,
    inode: u64,
    /// The beginning of a line whose rest is not written yet.
    held: Vec<u8>,
    /// The line being read is too long: it is passed over up to its end.
    skipping: bool,
}

impl std::fmt::Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line, with its newline; or a message, without its frame.
    Whole(Vec<u8>),
    /// Nothing more for now.
    End,
}

impl LogFile {
    /// Opens a file from `offset` bytes (of the text, for a compressed one) on.
    pub(crate) fn open(path: &Path, offset: u64, framing: Framing) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let inode = file.metadata()?.ino();
        let input: Box<dyn BufRead + Send> = if is_compressed(path) {
            let mut text = BufReader::with_capacity(BLOCK_BYTES, flate2::read::GzDecoder::new(file));
            io::copy(&mut (&mut text).take(offset), &mut io::sink())?;
            Box::new(text)
        } else {
            file.seek(SeekFrom::Start(offset))?;
            Box::new(BufReader::with_capacity(BLOCK_BYTES, file))
        };
        Ok(Self { framing, input, inode, held: Vec::new(), skipping: false })
    }

    /// The next line, or the end for now: it can be called again when the file has grown.
    pub(crate) fn next(&mut self) -> io::Result<Line> {
        match self.framing {
            Framing::Newline => self.next_line(),
            Framing::Length => self.next_record(),
        }
    }

    fn next_record(&mut self) -> io::Result<Line> {
        // What follows a record that is none cannot be told apart.
        if self.skipping || !self.hold(LENGTH_BYTES)? {
            return Ok(Line::End);
        }
        let length = message_length(&self.held);
        if length > LOCAL_MESSAGE_BYTES_MAX {
            self.skipping = true;
            return Ok(Line::End);
        }
        if !self.hold(length + LOCAL_FRAME_BYTES)? {
            return Ok(Line::End);
        }
        let mut record = std::mem::take(&mut self.held);
        if message_length(&record[length + LENGTH_BYTES..]) != length {
            self.skipping = true;
            return Ok(Line::End);
        }
        record.truncate(length + LENGTH_BYTES);
        record.drain(..LENGTH_BYTES);
        Ok(Line::Whole(record))
    }

    /// Reads until so many bytes are held; `false` when they are not there yet.
    fn hold(&mut self, wanted: usize) -> io::Result<bool> {
        let missing = wanted.saturating_sub(self.held.len());
        (&mut self.input).take(missing as u64).read_to_end(&mut self.held)?;
        Ok(self.held.len() >= wanted)
    }

    fn next_line(&mut self) -> io::Result<Line> {
        loop {
            let room = u64::try_from(LINE_BYTES_MAX.saturating_sub(self.held.len())).unwrap_or(0);
            let count = (&mut self.input).take(room).read_until(b'\n', &mut self.held)?;
            let whole = self.held.last() == Some(&b'\n');
            if whole && !std::mem::take(&mut self.skipping) {
                return Ok(Line::Whole(std::mem::take(&mut self.held)));
            }
            if whole || self.held.len() >= LINE_BYTES_MAX {
                self.skipping = !whole;
                self.held.clear();
            } else if count == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// The inode, to tell whether the name stands for another file by now.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}

/// The length that a record has at both ends.
fn message_length(bytes: &[u8]) -> usize {
    bytes.first_chunk::<LENGTH_BYTES>().map_or(usize::MAX, |length| u32::from_be_bytes(*length) as usize)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gz")
}

fn rotated(path: &Path, index: u32) -> [PathBuf; 2] {
    let plain = PathBuf::from(format!("{}.{index}", path.display()));
    let compressed = PathBuf::from(format!("{}.gz", plain.display()));
    [plain, compressed]
}

/// The files of a log that exist, oldest first, the current one last.
pub(crate) fn all(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    for index in 1..FILES_MAX {
        match rotated(path, index).into_iter().find(|p| p.exists()) {
            Some(found) => files.push(found),
            None => break,
        }
    }
    files.reverse();
    files
}

/// The file to read after the one with `inode`, which has been rotated away: the next newer one.
pub(crate) fn after(path: &Path, inode: u64) -> PathBuf {
    let mut newer = path.to_owned();
    for index in 1..FILES_MAX {
        let [plain, compressed] = rotated(path, index);
        match std::fs::metadata(&plain) {
            Ok(meta) if meta.ino() == inode => return newer,
            Ok(_) => newer = plain,
            Err(_) if compressed.exists() => newer = compressed,
            Err(_) => break,
        }
    }
    path.to_owned()
}

/// Where the last `lines` lines of `files` (oldest first) begin: the files to read, each with its offset.
pub(crate) fn last_lines(files: &[PathBuf], lines: u64, framing: Framing) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut from = Vec::new();
    let mut wanted = lines;
    for path in files.iter().rev() {
        if wanted == 0 {
            break;
        }
        let (offset, found) = match framing {
            _ if is_compressed(path) => tail_of_text(path, wanted, framing)?,
            Framing::Newline => tail_of(path, wanted)?,
            Framing::Length => tail_of_records(path, wanted)?,
        };
        from.push((path.clone(), offset));
        wanted = wanted.saturating_sub(found);
    }
    from.reverse();
    Ok(from)
}

/// Offset and number of the last lines (`wanted` at most) of a plain file, read backwards.
fn tail_of(path: &Path, wanted: u64) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let len = end;
    let mut newlines = 0;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let size = usize::try_from(end - start).unwrap_or(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        for at in (0..size).rev().filter(|at| block[*at] == b'\n') {
            let offset = start + at as u64 + 1;
            // The newline at the very end closes the last line and begins none.
            if offset == len {
                continue;
            }
            newlines += 1;
            if newlines == wanted {
                return Ok((offset, wanted));
            }
        }
        end = start;
    }
    Ok((0, if len == 0 { 0 } else { newlines + 1 }))
}

/// The same for records with lengths. Where a length makes no sense the file is read forwards instead.
fn tail_of_records(path: &Path, wanted: u64) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let mut at = file.seek(SeekFrom::End(0))?;
    let mut found = 0;
    // What of the file is at hand: `block` begins at `block_at` and reaches to `at` or beyond.
    let (mut block, mut block_at) = (Vec::new(), at);
    while found < wanted && at > 0 {
        if at < block_at + LENGTH_BYTES as u64 {
            block_at = at.saturating_sub(BLOCK_BYTES as u64);
            block.resize(usize::try_from(at - block_at).unwrap_or(BLOCK_BYTES), 0);
            file.seek(SeekFrom::Start(block_at))?;
            file.read_exact(&mut block)?;
        }
        let end = usize::try_from(at - block_at).unwrap_or(usize::MAX);
        let length = end.checked_sub(LENGTH_BYTES).map_or(usize::MAX, |from| message_length(&block[from..]));
        match at.checked_sub(length.saturating_add(LOCAL_FRAME_BYTES) as u64) {
            Some(before) if length <= LOCAL_MESSAGE_BYTES_MAX => at = before,
            _ => return tail_of_text(path, wanted, Framing::Length),
        }
        found += 1;
    }
    Ok((at, found))
}

/// The same for a file that cannot be read backwards (a compressed one): it is read twice.
fn tail_of_text(path: &Path, wanted: u64, framing: Framing) -> io::Result<(u64, u64)> {
    let frame = if framing == Framing::Length { LOCAL_FRAME_BYTES as u64 } else { 0 };
    let lines = |visit: &mut dyn FnMut(u64, u64)| -> io::Result<u64> {
        let mut file = LogFile::open(path, 0, framing)?;
        let (mut count, mut offset) = (0, 0);
        while let Line::Whole(line) = file.next()? {
            visit(count, offset);
            count += 1;
            offset += line.len() as u64 + frame;
        }
        Ok(count)
    };
    let count = lines(&mut |_, _| {})?;
    let first = count.saturating_sub(wanted);
    let mut from = 0;
    lines(&mut |index, offset| {
        if index == first {
            from = offset;
        }
    })?;
    Ok((from, count - first))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines_of(from: &[(PathBuf, u64)]) -> Vec<String> {
        let mut seen = Vec::new();
        for (path, offset) in from {
            let mut file = LogFile::open(path, *offset, Framing::Newline).unwrap();
            while let Line::Whole(line) = file.next().unwrap() {
                seen.push(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
        }
        seen
    }

    fn log_of_three_files(dir: &Path) -> PathBuf {
        let path = dir.join("log");
        let mut packed = flate2::write::GzEncoder::new(File::create(dir.join("log.2.gz")).unwrap(), Default::default());
        packed.write_all(b"1\n2\n3\n").unwrap();
        packed.finish().unwrap();
        std::fs::write(dir.join("log.1"), "4\n5\n").unwrap();
        std::fs::write(&path, "6\n7\n").unwrap();
        path
    }

    #[test]
    fn the_last_lines_are_found_across_rotated_and_compressed_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_of_three_files(dir.path());
        let files = all(&path);
        assert_eq!(files.len(), 3);
        for wanted in 0..=8_u64 {
            let expected: Vec<String> =
                (1..=7).skip(7_usize.saturating_sub(wanted as usize)).map(|n| n.to_string()).collect();
            assert_eq!(lines_of(&last_lines(&files, wanted, Framing::Newline).unwrap()), expected, "{wanted}");
        }
    }

    #[test]
    fn tail_reads_backwards_over_block_borders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(30_000);
        std::fs::write(&path, format!("{line}1\n{line}2\n{line}3\n{line}4\n")).unwrap();
        let from = last_lines(&[path], 3, Framing::Newline).unwrap();
        assert_eq!(from[0].1, 30_002);
    }

    #[test]
    fn half_a_line_waits_for_its_rest_and_an_endless_one_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "whole\nha").unwrap();
        let mut file = LogFile::open(&path, 0, Framing::Newline).unwrap();
        assert_eq!(file.next().unwrap(), Line::Whole(b"whole\n".to_vec()));
        assert_eq!(file.next().unwrap(), Line::End);
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"lf\n").unwrap();
        assert_eq!(file.next().unwrap(), Line::Whole(b"half\n".to_vec()));
        writer.write_all(&vec![b'y'; 3 * LINE_BYTES_MAX]).unwrap();
        writer.write_all(b"\nshort\n").unwrap();
        assert_eq!(file.next().unwrap(), Line::Whole(b"short\n".to_vec()));
    }

    #[test]
    fn a_reader_behind_goes_through_the_rotated_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let old = LogFile::open(&path, 0, Framing::Newline).unwrap();
        std::fs::rename(&path, dir.path().join("log.2")).unwrap();
        std::fs::write(dir.path().join("log.1"), "middle\n").unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(after(&path, old.inode()), dir.path().join("log.1"));
        let middle = LogFile::open(&dir.path().join("log.1"), 0, Framing::Newline).unwrap();
        assert_eq!(after(&path, middle.inode()), path);
    }

    #[test]
    fn records_with_lengths_are_read_from_either_end() {
        use shim_api::log_format::{Stream, parse_local, write_local};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut text = Vec::new();
        // Records shorter than a length, of a block's size and of more than a block.
        let lines: Vec<String> = (0..300).map(|n| format!("{n}{}", "x".repeat(n * n * 7 % 90_000))).collect();
        for line in &lines {
            write_local(&mut text, 1, Stream::Stdout, line.as_bytes(), false);
        }
        std::fs::write(&path, &text).unwrap();
        for wanted in [0, 1, 2, 5, 299, 300, 1000] {
            let from = last_lines(std::slice::from_ref(&path), wanted, Framing::Length).unwrap();
            let mut seen = Vec::new();
            for (path, offset) in &from {
                let mut file = LogFile::open(path, *offset, Framing::Length).unwrap();
                while let Line::Whole(message) = file.next().unwrap() {
                    seen.push(String::from_utf8(parse_local(&message).unwrap().message).unwrap());
                }
            }
            let expected = &lines[lines.len() - usize::try_from(wanted).unwrap().min(lines.len())..];
            assert_eq!(seen, expected, "{wanted}");
        }
        // The beginning of a record waits for its rest; a broken one ends the file.
        std::fs::write(&path, &text[..40]).unwrap();
        let mut file = LogFile::open(&path, 0, Framing::Length).unwrap();
        while file.next().unwrap() != Line::End {}
        std::fs::write(&path, [0xff; 64]).unwrap();
        assert_eq!(last_lines(std::slice::from_ref(&path), 3, Framing::Length).unwrap(), [(path, 0)]);
    }
}
