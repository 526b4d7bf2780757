//! Compressed bytes in, a directory out: inflate, hash and untar overlap.
//!
//! Two threads and a short queue: the caller's writes the download, hashes it, inflates and hashes again; a second one
//! reads the tar and writes the files. Nothing is held beyond the queue, whatever the archive claims to be.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::Digest as _;
use sys::rooted::RootFd;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, LayerId};
use crate::snapshot::apply::{Applied, apply};
use crate::snapshot::tar_stream::{TarStream, stream_error};

/// Bytes of one chunk between the threads: below the size at which the allocator asks the kernel each time.
const CHUNK_BYTES: usize = 96 << 10;
const CHUNKS_QUEUED_MAX: usize = 16;
/// The largest zstd window that is granted (2^27 = 128 MiB, what the format's own tools grant).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2_MAGIC: [u8; 3] = *b"BZh";

/// A layer on its way from bytes to files. Blocking.
pub(crate) struct Unpacker {
    inflate: Option<Inflate<DiffSink>>,
    untar: Option<JoinHandle<Result<Applied>>>,
}

/// Nobody may clear the directory away while the other thread still writes there.
impl Drop for Unpacker {
    fn drop(&mut self) {
        drop(self.inflate.take());
        drop(self.join());
    }
}

impl Unpacker {
    /// Unpacks into the empty directory `root` what will be written, up to `bytes_max` uncompressed bytes.
    pub(crate) fn start(root: &Path, bytes_max: u64) -> Result<Self> {
        let (inflate, chunks) = pipe(bytes_max);
        let root = RootFd::open(root)?;
        let untar = std::thread::Builder::new()
            .name("untar".into())
            .spawn(move || apply(&mut TarStream::new(chunks), &root))?;
        Ok(Self { inflate: Some(inflate), untar: Some(untar) })
    }

    /// The next compressed bytes.
    ///
    /// # Errors
    /// What the layer cannot be unpacked for: see also [`Unpacker::fail`], which knows the other thread's reason.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let inflate = self.inflate.as_mut().ok_or_else(stopped)?;
        inflate.write_all(bytes).map_err(stream_error)
    }

    /// No more bytes: waits for the files.
    pub(crate) fn finish(mut self) -> Result<(LayerId, Applied)> {
        let inflate = self.inflate.take().ok_or_else(stopped)?;
        let ended = inflate.end().and_then(DiffSink::end).map_err(stream_error);
        let applied = self.join();
        match (ended, applied) {
            (Ok(id), Ok(applied)) => Ok((id, applied)),
            (Err(error), Ok(_)) => Err(error),
            // The reader's failure is the consequence of the writer's, unless the reader failed first.
            (Err(error), Err(other)) => Err(if other.kind() == ErrorKind::Cancelled { error } else { other }),
            (Ok(_), Err(error)) => Err(error),
        }
    }

    /// Gives up because of `error` and waits for the other thread; answers the first cause.
    pub(crate) fn fail(mut self, error: Error) -> Error {
        drop(self.inflate.take());
        match self.join() {
            Err(other) if other.kind() != ErrorKind::Cancelled => other,
            _ => error,
        }
    }

    fn join(&mut self) -> Result<Applied> {
        let untar = self.untar.take().ok_or_else(stopped)?;
        untar.join().unwrap_or_else(|_| Err(Error::internal("the thread that unpacks a layer has panicked")))
    }
}

/// Compressed bytes into one end, uncompressed ones out of the other, on another thread; at most `bytes_max` of them.
pub(crate) fn pipe(bytes_max: u64) -> (Inflate<DiffSink>, ChunkReader) {
    let (sender, receiver) = sync_channel(CHUNKS_QUEUED_MAX);
    let chunk = Vec::with_capacity(CHUNK_BYTES);
    let sink = DiffSink { hash: sha2::Sha256::new(), chunk, sender, total: 0, bytes_max };
    (Inflate::new(sink), ChunkReader { receiver, chunk: Vec::new(), at: 0, ended: false })
}

/// How a stream is compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Unsupported,
}

impl Compression {
    /// Bytes needed to tell.
    pub(crate) const MAGIC_BYTES: usize = 6;

    pub(crate) fn of(magic: &[u8]) -> Self {
        if magic.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if magic.starts_with(&ZSTD_MAGIC) {
            Self::Zstd
        } else if magic.starts_with(&XZ_MAGIC) || magic.starts_with(&BZIP2_MAGIC) {
            Self::Unsupported
        } else {
            Self::Plain
        }
    }

    /// What OCI appends to a layer's media type.
    pub(crate) fn media_type_suffix(self) -> &'static str {
        match self {
            Self::Plain | Self::Unsupported => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// A decompressor that is written to; which one, the first bytes say.
pub(crate) enum Inflate<W: Write> {
    Undecided(Vec<u8>, Option<W>),
    Plain(W),
    Gzip(Box<flate2::write::MultiGzDecoder<W>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
}

impl<W: Write> Inflate<W> {
    fn decide(&mut self) -> io::Result<()> {
        let Self::Undecided(seen, sink) = self else { return Ok(()) };
        let Some(sink) = sink.take() else { return Ok(()) };
        let seen = std::mem::take(seen);
        *self = match Compression::of(&seen) {
            Compression::Plain => Self::Plain(sink),
            Compression::Gzip => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(sink))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(sink)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(Box::new(decoder))
            }
            Compression::Unsupported => {
                let text = "xz and bzip2 are not supported: only gzip, zstd and uncompressed tars are";
                return Err(io::Error::other(Error::invalid(text)));
            }
        };
        self.write_all(&seen)
    }

    /// The sink, when all that was written has reached it.
    pub(crate) fn end(mut self) -> io::Result<W> {
        self.decide()?;
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                Ok(decoder.into_inner())
            }
            Self::Undecided(..) => Err(io::Error::other("nothing was written")),
        }
    }
}

impl<W: Write> Write for Inflate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Undecided(seen, _) => {
                seen.extend_from_slice(bytes);
                if seen.len() >= Compression::MAGIC_BYTES {
                    self.decide()?;
                }
                Ok(bytes.len())
            }
            Self::Plain(sink) => sink.write(bytes),
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Zstd(decoder) => decoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Inflate<W> {
    /// Inflates into `sink`.
    pub(crate) fn new(sink: W) -> Self {
        Self::Undecided(Vec::new(), Some(sink))
    }
}

/// Hashes the uncompressed bytes and passes them on in chunks.
pub(crate) struct DiffSink {
    hash: sha2::Sha256,
    chunk: Vec<u8>,
    sender: SyncSender<Option<Vec<u8>>>,
    total: u64,
    bytes_max: u64,
}

impl DiffSink {
    fn pass_on(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.hash.update(&chunk);
        self.sender.send(Some(chunk)).map_err(|_| io::Error::other(stopped()))
    }

    pub(crate) fn end(mut self) -> io::Result<LayerId> {
        if !self.chunk.is_empty() {
            self.pass_on()?;
        }
        self.sender.send(None).map_err(|_| io::Error::other(stopped()))?;
        Ok(Digest::from_bytes(self.hash.finalize().into()))
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "unpacking has stopped")
}

impl Write for DiffSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.total += take as u64;
        if self.total > self.bytes_max {
            let text = format!("the layer is longer than {} bytes when unpacked", self.bytes_max);
            return Err(io::Error::other(Error::new(ErrorKind::ResourceExhausted, text)));
        }
        self.chunk.extend_from_slice(&bytes[..take]);
        if self.chunk.len() == CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the chunks. The end of the stream is said, not guessed: a writer that is gone is an error.
pub(crate) struct ChunkReader {
    receiver: Receiver<Option<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.chunk.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Some(chunk)) => {
                    self.chunk = chunk;
                    self.at = 0;
                }
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::Error::other(stopped())),
            }
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.chunk.len());
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut inflate = Inflate::new(Vec::new());
        for piece in bytes.chunks(3) {
            inflate.write_all(piece).map_err(stream_error)?;
        }
        inflate.end().map_err(stream_error)
    }

    #[test]
    fn the_bytes_say_how_they_are_compressed() {
        let plain = b"some text, some text, some text".to_vec();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(inflate(&plain).unwrap(), plain);
        assert_eq!(inflate(&gzip).unwrap(), plain);
        assert_eq!(inflate(&[gzip.clone(), gzip.clone()].concat()).unwrap(), plain.repeat(2), "members are joined");
        assert_eq!(inflate(&zstd::encode_all(&plain[..], 1).unwrap()).unwrap(), plain);
        assert_eq!(inflate(b"").unwrap(), b"");
        assert!(inflate(&gzip[..gzip.len() - 4]).is_err(), "cut off");
        assert!(inflate(b"\xfd7zXZ\0......").unwrap_err().message().contains("xz"));
    }

    #[test]
    fn a_window_that_takes_gigabytes_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(31).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(b"x").unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b"y").unwrap();
        assert!(inflate(&encoder.finish().unwrap()).is_err());
    }

    #[test]
    fn a_bomb_is_stopped_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker::start(dir.path(), 1 << 20).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![0; 8 << 20]).unwrap();
        let error = unpacker.write(&gzip.finish().unwrap()).unwrap_err();
        assert_eq!(unpacker.fail(error).kind(), ErrorKind::ResourceExhausted);
    }
}
