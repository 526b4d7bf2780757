//! Decompression in this process: gzip, zstd, bzip2 and xz, told apart by their first bytes. No program of the image or
//! of the host is ever run for it.

use std::io::{self, BufRead, BufReader, Read};

use crate::error::{Error, ErrorKind};

/// The largest zstd window that is granted (2^27 = 128 MiB, what the format's own tools grant).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What an xz decoder may take: the largest preset's dictionary, doubled.
const XZ_MEMORY_KIB_MAX: u32 = 128 << 10;
const BUFFER_BYTES: usize = 128 << 10;
/// Bytes needed to tell formats apart.
const MAGIC_BYTES: usize = 6;

/// The uncompressed bytes of `reader`, at most `bytes_max` of them.
///
/// # Errors
/// Those of the first read. Later ones come from the reader, as does `ResourceExhausted` for what is longer.
pub(crate) fn uncompressed(
    mut reader: impl Read + Send + 'static,
    bytes_max: u64,
) -> io::Result<Box<dyn BufRead + Send>> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    reader.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    let start = magic.clone();
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(magic).chain(reader));
    let plain: Box<dyn Read + Send> = match start.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB_MAX))
        }
        _ => Box::new(whole),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, Limited { inner: plain, left: bytes_max, bytes_max })))
}

/// A reader that fails at a limit, so that a bomb is no short archive.
struct Limited<R> {
    inner: R,
    left: u64,
    bytes_max: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                let text = format!("the archive is longer than {} bytes when unpacked", self.bytes_max);
                return Err(io::Error::other(Error::new(ErrorKind::ResourceExhausted, text)));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: Vec<u8>, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        uncompressed(io::Cursor::new(bytes), bytes_max)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// `printf 'text text text\n' | xz`
    const XZ: &str = "fd377a585a000004e6d6b446020021011600000074 2fe5a3 e0000e000c5d003a194a65a3f94ea3 ad00";

    #[test]
    fn each_format_is_told_by_its_first_bytes() {
        let plain = b"some text, some text, some text".to_vec();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain.clone(), gzip.finish().unwrap(), bzip2.finish().unwrap(), zstd] {
            assert_eq!(read(bytes, 1000).unwrap(), plain);
        }
        assert_eq!(read(Vec::new(), 1000).unwrap(), b"");
        assert!(read(hex::decode(XZ.replace(' ', "")).unwrap(), 1000).is_err(), "an xz that is cut off");
    }

    #[test]
    fn a_bomb_is_stopped_at_its_limit() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![0; 8 << 20]).unwrap();
        let error = read(gzip.finish().unwrap(), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("longer than 1048576 bytes"), "{error}");
    }
}
