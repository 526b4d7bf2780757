//! PURE. A tar read as a stream: ustar, PAX, GNU long names, GNU sparse (old, PAX 0.0, 0.1 and 1.0), base-256 numbers.
//!
//! Written for input that lies: every header is checked, every length has a limit, nothing is allocated by a number that
//! the archive states, and the bytes of one entry can never run into the next.

use std::io::{self, BufRead};

use crate::error::{Error, Result};

const BLOCK: usize = 512;
/// Bytes of one PAX header or GNU long name.
const META_BYTES_MAX: u64 = 1 << 20;
/// Extension headers in a row before one entry.
const META_HEADERS_MAX: usize = 16;
/// Bytes of a path or link target (`PATH_MAX`).
const PATH_LEN_MAX: usize = 4096;
/// Regions of one sparse file.
const SPARSE_REGIONS_MAX: usize = 1 << 16;
/// Digits of one number in a sparse map.
const SPARSE_DIGITS_MAX: usize = 20;
/// Bytes of one file (16 TiB, ext4's limit).
const FILE_BYTES_MAX: u64 = 1 << 44;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Hardlink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One piece of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The header of one entry; its bytes are read from the stream before the next entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As in the archive, not yet checked: may be absolute, have `..`, be anything.
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_seconds: i64,
    pub(crate) mtime_nanos: u32,
    /// Bytes of the file when written; more than the stream holds if it is sparse.
    pub(crate) size: u64,
    /// Where the stream's bytes go, in order; `None` when the file is whole.
    pub(crate) sparse: Option<Vec<Region>>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The path for messages.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).chars().take(256).collect()
    }
}

/// Reads entries from a stream of bytes.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    reader: R,
    /// Bytes of the current entry not yet read.
    left: u64,
    /// Zero bytes after them, up to the block.
    padding: u64,
    ended: bool,
}

/// What PAX records and GNU headers said about the entry that follows.
#[derive(Debug, Default)]
struct Overrides {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_major: Option<u64>,
    sparse_minor: Option<u64>,
    sparse_numbers: Vec<u64>,
    sparse_map: bool,
}

impl<R: BufRead> TarStream<R> {
    /// Reads a tar from `reader`.
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, ended: false }
    }

    /// The next entry, or `None` at the end marker or the end of the stream.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_rest()?;
        let mut overrides = Overrides::default();
        for _ in 0..META_HEADERS_MAX {
            let Some(header) = self.read_header()? else { return Ok(None) };
            let size = header_number(&header[124..136], "size")?;
            match header[156] {
                b'x' => parse_pax(&self.read_meta(size)?, &mut overrides)?,
                // A global header speaks of all later entries; like Go's reader we take nothing from it.
                b'g' => drop(self.read_meta(size)?),
                b'L' => overrides.path = Some(without_nul(self.read_meta(size)?)),
                b'K' => overrides.link = Some(without_nul(self.read_meta(size)?)),
                _ => return self.finish(&header, overrides).map(Some),
            }
        }
        Err(malformed(format!("more than {META_HEADERS_MAX} extension headers before one entry")))
    }

    /// The bytes of the current entry that are at hand; empty at its end. Followed by [`TarStream::consume`].
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let available = self.reader.fill_buf().map_err(stream_error)?;
        if available.is_empty() {
            return Err(malformed("it ends inside an entry".into()));
        }
        let take = available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&available[..take])
    }

    /// Takes `count` of the bytes that [`TarStream::fill`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count as u64 <= self.left);
        self.reader.consume(count);
        self.left -= count as u64;
    }

    /// Reads what follows the end marker, so that a digest over the stream is whole.
    pub(crate) fn drain(&mut self) -> Result<()> {
        loop {
            let count = self.reader.fill_buf().map_err(stream_error)?.len();
            if count == 0 {
                return Ok(());
            }
            self.reader.consume(count);
        }
    }

    fn skip_rest(&mut self) -> Result<()> {
        while self.left > 0 {
            let count = self.fill()?.len();
            self.consume(count);
        }
        // The last entry's padding may be missing at the end of the stream.
        self.left = std::mem::take(&mut self.padding);
        while self.left > 0 {
            if self.reader.fill_buf().map_err(stream_error)?.is_empty() {
                self.left = 0;
                break;
            }
            let count = self.fill()?.len();
            self.consume(count);
        }
        Ok(())
    }

    fn read_header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut header = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let count = self.reader.read(&mut header[filled..]).map_err(stream_error)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        if filled == 0 || (filled == BLOCK && header.iter().all(|b| *b == 0)) {
            self.ended = true;
            return Ok(None);
        }
        if filled < BLOCK {
            return Err(malformed("it ends inside a header".into()));
        }
        verify_checksum(&header)?;
        Ok(Some(header))
    }

    /// The body of an extension header.
    fn read_meta(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > META_BYTES_MAX {
            return Err(malformed(format!("an extension header of {size} bytes; at most {META_BYTES_MAX} are read")));
        }
        self.begin_body(size);
        let mut body = Vec::new();
        while self.left > 0 {
            let piece = self.fill()?;
            let count = piece.len();
            body.extend_from_slice(piece);
            self.consume(count);
        }
        self.skip_rest()?;
        Ok(body)
    }

    fn begin_body(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn finish(&mut self, header: &[u8; BLOCK], overrides: Overrides) -> Result<Entry> {
        let kind = entry_kind(header)?;
        let stored = match overrides.size {
            Some(size) => size,
            None => header_number(&header[124..136], "size")?,
        };
        // Links and devices have no body, whatever their size field says.
        let body = if kind == EntryKind::File { stored } else { 0 };
        if body > FILE_BYTES_MAX {
            return Err(malformed(format!("a file of {body} bytes")));
        }
        self.begin_body(body);
        let (size, sparse) = self.sparse(header, &overrides, body)?;
        let path = match overrides.sparse_name.or(overrides.path) {
            Some(path) => path,
            None => header_path(header),
        };
        let entry = Entry {
            path: checked_name(path)?,
            link: checked_name(overrides.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec()))?,
            kind,
            mode: small(header_number(&header[100..108], "mode")? & 0o7777, "mode")?,
            uid: owner(overrides.uid, &header[108..116], "uid")?,
            gid: owner(overrides.gid, &header[116..124], "gid")?,
            mtime_seconds: overrides.mtime.map_or_else(|| signed_number(&header[136..148]), |m| m.0),
            mtime_nanos: overrides.mtime.map_or(0, |m| m.1),
            size,
            sparse,
            device: device(header, kind)?,
            xattrs: overrides.xattrs,
        };
        Ok(entry)
    }

    /// The real size of the entry and where its bytes go. Reads the map where it is part of the body.
    fn sparse(&mut self, header: &[u8; BLOCK], overrides: &Overrides, body: u64) -> Result<(u64, Option<Vec<Region>>)> {
        let (size, numbers) = if header[156] == b'S' {
            (header_number(&header[483..495], "sparse size")?, self.old_sparse_map(header)?)
        } else if overrides.sparse_major == Some(1) && overrides.sparse_minor.unwrap_or(0) == 0 {
            (overrides.sparse_size.unwrap_or(0), self.body_sparse_map()?)
        } else if overrides.sparse_map {
            (overrides.sparse_size.unwrap_or(0), overrides.sparse_numbers.clone())
        } else {
            return Ok((body, None));
        };
        let regions = checked_regions(&numbers, size, self.left)?;
        Ok((size, Some(regions)))
    }

    /// GNU's old format: four regions in the header, 21 in each extension block. These blocks come before the body.
    fn old_sparse_map(&mut self, header: &[u8; BLOCK]) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        push_old_regions(&header[386..482], &mut numbers)?;
        let mut extended = header[482] != 0;
        while extended {
            let mut block = [0; BLOCK];
            self.reader.read_exact(&mut block).map_err(stream_error)?;
            push_old_regions(&block[..504], &mut numbers)?;
            extended = block[504] != 0;
        }
        Ok(numbers)
    }

    /// GNU PAX 1.0: decimal lines at the beginning of the body, padded to a block.
    fn body_sparse_map(&mut self) -> Result<Vec<u64>> {
        let mut taken = 0_u64;
        let count = self.decimal_line(&mut taken)?;
        let count = usize::try_from(count).ok().filter(|c| *c <= SPARSE_REGIONS_MAX).ok_or_else(too_many_regions)?;
        let mut numbers = Vec::new();
        for _ in 0..count * 2 {
            numbers.push(self.decimal_line(&mut taken)?);
        }
        let mut padding = taken.next_multiple_of(BLOCK as u64) - taken;
        while padding > 0 {
            let count = self.fill()?.len().min(usize::try_from(padding).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(malformed("a sparse map that ends early".into()));
            }
            self.consume(count);
            padding -= count as u64;
        }
        Ok(numbers)
    }

    fn decimal_line(&mut self, taken: &mut u64) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            let Some(byte) = self.fill()?.first().copied() else {
                return Err(malformed("a sparse map that ends early".into()));
            };
            self.consume(1);
            *taken += 1;
            if byte == b'\n' {
                return decimal(&digits).ok_or_else(|| malformed("a sparse map that is not decimal".into()));
            }
            digits.push(byte);
            if digits.len() > SPARSE_DIGITS_MAX {
                return Err(malformed("a sparse map that is not decimal".into()));
            }
        }
    }
}

fn malformed(why: String) -> Error {
    Error::invalid(format!("the archive is malformed: {why}"))
}

fn too_many_regions() -> Error {
    malformed(format!("a sparse file of more than {SPARSE_REGIONS_MAX} regions"))
}

/// An engine error that travelled through a reader comes out as it was.
pub(crate) fn stream_error(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => inner.clone(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => malformed("it ends early".into()).with_source(error),
        None if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Error::invalid("the stream cannot be inflated").with_source(error)
        }
        None => Error::from(error),
    }
}

fn verify_checksum(header: &[u8; BLOCK]) -> Result<()> {
    let stated = header_number(&header[148..156], "checksum")?;
    let bytes = || header.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { b' ' } else { *b });
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|b| i64::from(b.cast_signed())).sum();
    if stated == unsigned || i64::try_from(stated) == Ok(signed) {
        return Ok(());
    }
    Err(malformed("a header with a wrong checksum".into()))
}

fn entry_kind(header: &[u8; BLOCK]) -> Result<EntryKind> {
    Ok(match header[156] {
        // Very old archives mark a directory by a slash at the end only.
        0 | b'0' | b'7' | b'S' if !header_path(header).ends_with(b"/") => EntryKind::File,
        0 | b'0' | b'7' | b'S' | b'5' => EntryKind::Directory,
        b'1' => EntryKind::Hardlink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'6' => EntryKind::Fifo,
        other => return Err(malformed(format!("an entry of unknown type {:?}", char::from(other)))),
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(until_nul(&name).len());
    name
}

fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

fn checked_name(name: Vec<u8>) -> Result<Vec<u8>> {
    if name.len() > PATH_LEN_MAX {
        return Err(malformed(format!("a name of {} bytes; at most {PATH_LEN_MAX} are possible", name.len())));
    }
    if name.contains(&0) {
        return Err(malformed("a name with a NUL byte".into()));
    }
    Ok(name)
}

/// An octal or base-256 field that must not be negative.
fn header_number(field: &[u8], what: &str) -> Result<u64> {
    if field[0] & 0x80 != 0 {
        let wide = base256(field).ok_or_else(|| malformed(format!("a {what} that is out of range")))?;
        return u64::try_from(wide).map_err(|_| malformed(format!("a negative {what}")));
    }
    octal(field).ok_or_else(|| malformed(format!("a {what} that is not octal")))
}

/// A time field; what cannot be read is 1970, as other tools do.
fn signed_number(field: &[u8]) -> i64 {
    if field[0] & 0x80 != 0 {
        base256(field).unwrap_or(0)
    } else {
        octal(field).and_then(|n| i64::try_from(n).ok()).unwrap_or(0)
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = until_nul(field).trim_ascii();
    let mut value = 0_u64;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|d| *d < 8)?;
        value = value.checked_mul(8)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Two's complement, the first bit of the field being the marker.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = if at == 0 { if negative { byte | 0x80 } else { byte & 0x7f } } else { *byte };
        value = value.checked_mul(256)? | i128::from(byte);
    }
    i64::try_from(value).ok()
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn small(value: u64, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| malformed(format!("a {what} of {value}")))
}

/// A user or group id; 2^32-1 means "leave as it is" to the kernel and is refused.
fn owner(over: Option<u64>, field: &[u8], what: &str) -> Result<u32> {
    let value = match over {
        Some(value) => value,
        None => header_number(field, what)?,
    };
    small(value, what).and_then(|id| if id == u32::MAX { Err(malformed(format!("a {what} of {id}"))) } else { Ok(id) })
}

fn device(header: &[u8; BLOCK], kind: EntryKind) -> Result<(u32, u32)> {
    if !matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        return Ok((0, 0));
    }
    let number = |range: std::ops::Range<usize>| {
        header_number(&header[range], "device number").and_then(|n| small(n, "device number"))
    };
    Ok((number(329..337)?, number(337..345)?))
}

fn push_old_regions(field: &[u8], numbers: &mut Vec<u64>) -> Result<()> {
    for region in field.chunks_exact(24) {
        // An empty slot ends the list of this block.
        if region[0] == 0 && region[12] == 0 {
            break;
        }
        if numbers.len() >= SPARSE_REGIONS_MAX * 2 {
            return Err(too_many_regions());
        }
        numbers.push(header_number(&region[..12], "sparse offset")?);
        numbers.push(header_number(&region[12..], "sparse length")?);
    }
    Ok(())
}

/// Regions must be in order, apart, inside the file, and together as long as the body.
fn checked_regions(numbers: &[u64], size: u64, body: u64) -> Result<Vec<Region>> {
    let wrong = || malformed("a sparse map that does not fit its file".into());
    if !numbers.len().is_multiple_of(2) || size > FILE_BYTES_MAX {
        return Err(wrong());
    }
    let (mut end, mut total) = (0_u64, 0_u64);
    let mut regions = Vec::new();
    for pair in numbers.chunks_exact(2) {
        let region = Region { offset: pair[0], length: pair[1] };
        let region_end = region.offset.checked_add(region.length).ok_or_else(wrong)?;
        if region.offset < end || region_end > size {
            return Err(wrong());
        }
        end = region_end;
        total += region.length;
        if region.length > 0 {
            regions.push(region);
        }
    }
    if total == body { Ok(regions) } else { Err(wrong()) }
}

/// `<length> <key>=<value>\n`, again and again.
fn parse_pax(mut body: &[u8], overrides: &mut Overrides) -> Result<()> {
    let wrong = || malformed("a PAX header that cannot be read".into());
    while !body.is_empty() {
        let space = body.iter().take(SPARSE_DIGITS_MAX).position(|b| *b == b' ').ok_or_else(wrong)?;
        let length = decimal(&body[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong)?;
        if length > body.len() || length < space + 2 || body[length - 1] != b'\n' {
            return Err(wrong());
        }
        let record = &body[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        pax_record(&record[..equals], &record[equals + 1..], overrides)?;
        body = &body[length..];
    }
    Ok(())
}

fn pax_record(key: &[u8], value: &[u8], overrides: &mut Overrides) -> Result<()> {
    let number =
        || decimal(value).ok_or_else(|| malformed(format!("PAX {} is not a number", String::from_utf8_lossy(key))));
    let limited = |count: usize| if count > SPARSE_REGIONS_MAX * 2 { Err(too_many_regions()) } else { Ok(()) };
    match key {
        // An empty value takes the record back.
        b"path" => overrides.path = (!value.is_empty()).then(|| value.to_vec()),
        b"linkpath" => overrides.link = (!value.is_empty()).then(|| value.to_vec()),
        b"size" => overrides.size = Some(number()?),
        b"uid" => overrides.uid = Some(number()?),
        b"gid" => overrides.gid = Some(number()?),
        b"mtime" => overrides.mtime = Some(pax_time(value).ok_or_else(|| malformed("PAX mtime is not a time".into()))?),
        b"GNU.sparse.name" => overrides.sparse_name = Some(value.to_vec()),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => overrides.sparse_size = Some(number()?),
        b"GNU.sparse.major" => overrides.sparse_major = Some(number()?),
        b"GNU.sparse.minor" => overrides.sparse_minor = Some(number()?),
        b"GNU.sparse.numblocks" => overrides.sparse_map = true,
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            overrides.sparse_map = true;
            overrides.sparse_numbers.push(number()?);
            limited(overrides.sparse_numbers.len())?;
        }
        b"GNU.sparse.map" => {
            overrides.sparse_map = true;
            overrides.sparse_numbers.clear();
            for text in value.split(|b| *b == b',').filter(|t| !t.is_empty()) {
                let number = decimal(text).ok_or_else(|| malformed("PAX GNU.sparse.map is not decimal".into()))?;
                overrides.sparse_numbers.push(number);
                limited(overrides.sparse_numbers.len())?;
            }
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                if name.is_empty() || name.contains(&0) {
                    return Err(malformed("an extended attribute without a proper name".into()));
                }
                overrides.xattrs.retain(|(known, _)| known != name);
                overrides.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

/// `seconds[.fraction]`, possibly negative.
fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    if seconds.starts_with('-') && nanos > 0 {
        // -1.25 is 0.75 s after -2.
        return Some((whole.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((whole, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(bytes: &[u8]) -> TarStream<&[u8]> {
        TarStream::new(bytes)
    }

    fn header(name: &str, kind: u8, size: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000001");
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        checksummed(block)
    }

    fn checksummed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn padded(body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(BLOCK), 0);
        body
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length.to_string().len() + rest.len() != length {
                length = length.to_string().len() + rest.len();
            }
            body.extend_from_slice(format!("{length}{rest}").as_bytes());
        }
        [header("pax", b'x', body.len() as u64).to_vec(), padded(&body)].concat()
    }

    fn first(bytes: &[u8]) -> Result<Option<Entry>> {
        stream(bytes).next_entry()
    }

    #[test]
    fn a_pax_size_rules_and_the_next_entry_begins_after_it() {
        let tar = [
            pax(&[("size", "700"), ("path", "long")]),
            header("short", b'0', 5).to_vec(),
            padded(&[7; 700]),
            header("next", b'0', 0).to_vec(),
        ]
        .concat();
        let mut tar = stream(&tar);
        let entry = tar.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.size), (b"long".as_slice(), 700));
        assert_eq!(tar.next_entry().unwrap().unwrap().path, b"next");
        assert!(tar.next_entry().unwrap().is_none());
    }

    #[test]
    fn lengths_that_lie_are_refused_before_memory_is_taken() {
        let long = header("x", b'x', 1 << 32);
        assert!(first(&long).unwrap_err().message().contains("extension header"));
        assert!(first(&[header("f", b'0', 100).to_vec(), vec![1; 10]].concat()).unwrap().is_some());
        let truncated = [header("f", b'0', 100).to_vec(), vec![1; 10]].concat();
        let mut tar = stream(&truncated);
        tar.next_entry().unwrap();
        assert!(tar.next_entry().unwrap_err().message().contains("ends inside"));
        let many = vec![pax(&[("comment", "x")]); 20].concat();
        assert!(first(&many).is_err());
        assert!(first(&[1; 300]).is_err());
        let mut bad = header("f", b'0', 0);
        bad[0] ^= 1;
        assert!(first(&bad).unwrap_err().message().contains("checksum"));
    }

    #[test]
    fn sparse_maps_are_checked() {
        let of = |map: &str, real: &str, body: usize| {
            let tar = [
                pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", real), ("GNU.sparse.name", "s")]),
                header("GNUSparseFile.0/s", b'0', body as u64).to_vec(),
                padded(&vec![1; body]),
            ]
            .concat();
            first(&tar)
        };
        let entry = of("0,10,1000,20", "5000", 30).unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.size, entry.sparse.unwrap().len()), (b"s".as_slice(), 5000, 2));
        for (map, real, body) in [
            ("0,10,5,20", "5000", 30),
            ("0,10,1000,20", "1010", 30),
            ("0,10", "5000", 30),
            ("0", "5000", 30),
            ("18446744073709551615,30", "5000", 30),
            ("0,30", "99999999999999999", 30),
        ] {
            assert!(of(map, real, body).is_err(), "{map}");
        }
        let many = (0..70_000).map(|n| format!("{},0", n)).collect::<Vec<_>>().join(",");
        assert!(of(&many, "100000", 0).unwrap_err().message().contains("regions"));
    }

    #[test]
    fn a_sparse_map_in_the_body_is_read() {
        let map = padded(b"2\n0\n3\n100\n4\n");
        let body = [map, b"abcdefg".to_vec()].concat();
        let tar = [
            pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "104"),
                ("GNU.sparse.name", "s"),
            ]),
            header("x", b'0', body.len() as u64).to_vec(),
            padded(&body),
        ]
        .concat();
        let mut tar = stream(&tar);
        let entry = tar.next_entry().unwrap().unwrap();
        assert_eq!(entry.sparse.unwrap(), [Region { offset: 0, length: 3 }, Region { offset: 100, length: 4 }]);
        assert_eq!(tar.fill().unwrap(), b"abcdefg");
        let endless = [
            pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "104")]),
            header("x", b'0', 512).to_vec(),
            vec![b'9'; 512],
        ]
        .concat();
        assert!(first(&endless).is_err());
        let huge = [
            pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "104")]),
            header("x", b'0', 512).to_vec(),
            padded(b"2147483648\n"),
        ]
        .concat();
        assert!(first(&huge).unwrap_err().message().contains("regions"));
    }

    #[test]
    fn numbers_in_base_256_and_times_before_1970_are_read() {
        let mut block = header("f", b'0', 0);
        block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        block[136..148].fill(0xff);
        let entry = first(&checksummed(block)).unwrap().unwrap();
        assert_eq!((entry.uid, entry.mtime_seconds), (0x7fff_ffff, -1));
        block[108..116].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0]);
        assert!(first(&checksummed(block)).unwrap_err().message().contains("uid"), "2^32 is not wrapped to 0");
        assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time(b"12.5"), Some((12, 500_000_000)));
        assert!(pax_time(b"1.x").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_run_on(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), fix in any::<bool>()) {
            if fix {
                for block in bytes.chunks_exact_mut(BLOCK) {
                    let fixed = checksummed(block.try_into().unwrap());
                    block.copy_from_slice(&fixed);
                }
            }
            let mut tar = stream(&bytes);
            for _ in 0..100 {
                match tar.next_entry() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
            prop_assert!(false, "more entries than blocks");
        }
    }
}
