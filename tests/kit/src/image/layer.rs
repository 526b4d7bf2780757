//! A layer's tar, written header by header. No check is made of any name: hostile ones are wanted.

/// Extended attributes and the like travel in a PAX header before the entry.
const PAX_XATTR_PREFIX: &str = "SCHILY.xattr.";
const BLOCK: usize = 512;

/// A layer under construction.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    bytes: Vec<u8>,
}

/// The fields of one entry.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Path inside the layer, any bytes.
    pub name: &'a [u8],
    /// ustar type flag.
    pub kind: u8,
    /// Permission bits, with setuid and friends.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Target of a symbolic or hard link.
    pub link: &'a [u8],
    /// Device number of device nodes.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: &'a [(&'a str, &'a [u8])],
    /// Content.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// An entry of `kind` with mode 0644 and no content.
    pub fn new(name: &'a [u8], kind: u8) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self { name, kind, mode, uid: 0, gid: 0, link: b"", device: (0, 0), xattrs: &[], data: b"" }
    }
}

impl Layer {
    /// A layer with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The finished tar.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = self.bytes.clone();
        tar.resize(tar.len() + 2 * BLOCK, 0);
        tar
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, name: &str) -> Self {
        self.entry(&Entry::new(name.as_bytes(), b'5'))
    }

    /// Adds a regular file with mode 0644.
    #[must_use]
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(&Entry { data, ..Entry::new(name.as_bytes(), b'0') })
    }

    /// Adds a regular file with a mode of its own.
    #[must_use]
    pub fn file_mode(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(&Entry { data, mode, ..Entry::new(name.as_bytes(), b'0') })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), mode: 0o777, ..Entry::new(name.as_bytes(), b'2') })
    }

    /// Adds a hard link to an entry of this or a lower layer.
    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), ..Entry::new(name.as_bytes(), b'1') })
    }

    /// Marks `name` of lower layers as removed.
    #[must_use]
    pub fn whiteout(self, name: &str) -> Self {
        let (parent, base) = name.rsplit_once('/').map_or((String::new(), name), |(p, b)| (format!("{p}/"), b));
        self.file(&format!("{parent}.wh.{base}"), b"")
    }

    /// Hides everything that lower layers have in the directory `name`.
    #[must_use]
    pub fn opaque(self, name: &str) -> Self {
        self.file(&format!("{name}/.wh..wh..opq"), b"")
    }

    /// Adds a sparse file of `size` bytes with `data` at `offset`, in old GNU format as `tar --sparse` writes it.
    ///
    /// `offset` must be a multiple of 512, and `data` fit between it and the end.
    #[must_use]
    pub fn sparse(mut self, name: &str, size: u64, offset: u64, data: &[u8]) -> Self {
        let mut header = header(&Entry { data, ..Entry::new(name.as_bytes(), b'S') }, data.len() as u64);
        header[257..265].copy_from_slice(b"ustar  \0");
        octal(&mut header[386..398], offset);
        octal(&mut header[398..410], data.len() as u64);
        // The map ends with an empty region at the end of the file.
        octal(&mut header[410..422], size);
        octal(&mut header[422..434], 0);
        octal(&mut header[483..495], size);
        self.push(header, data);
        self
    }

    /// Adds any entry.
    #[must_use]
    pub fn entry(mut self, entry: &Entry<'_>) -> Self {
        if !entry.xattrs.is_empty() {
            let records: Vec<u8> = entry.xattrs.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            self.push(header(&Entry::new(b"PaxHeaders/entry", b'x'), records.len() as u64), &records);
        }
        if entry.name.len() > 100 {
            self.long(b'L', entry.name);
        }
        if entry.link.len() > 100 {
            self.long(b'K', entry.link);
        }
        self.push(header(entry, entry.data.len() as u64), entry.data);
        self
    }

    /// Adds bytes as they are: for tars that are broken on purpose.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A GNU long name or long link, which precedes its entry.
    fn long(&mut self, kind: u8, text: &[u8]) {
        let mut terminated = text.to_vec();
        terminated.push(0);
        let mut header = header(&Entry::new(b"././@LongLink", kind), terminated.len() as u64);
        header[257..265].copy_from_slice(b"ustar  \0");
        self.push(header, &terminated);
    }

    fn push(&mut self, mut header: [u8; BLOCK], data: &[u8]) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

fn header(entry: &Entry<'_>, size: u64) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    put(&mut block[..100], entry.name);
    octal(&mut block[100..108], u64::from(entry.mode));
    octal(&mut block[108..116], u64::from(entry.uid));
    octal(&mut block[116..124], u64::from(entry.gid));
    octal(&mut block[124..136], size);
    // 2024-01-01: a fixed time, so that the same tree has the same digest.
    octal(&mut block[136..148], 1_704_067_200);
    block[156] = entry.kind;
    put(&mut block[157..257], entry.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    block
}

fn put(field: &mut [u8], text: &[u8]) {
    let kept = text.len().min(field.len());
    field[..kept].copy_from_slice(&text[..kept]);
}

/// A number in octal with a NUL behind it, as wide as the field.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    assert!(text.len() <= digits, "{value} does not fit a tar field of {digits} digits");
    field[..digits].copy_from_slice(text.as_bytes());
}

/// `<length> key=value\n`, where the length counts itself.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 1 + PAX_XATTR_PREFIX.len() + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    let mut record = format!("{length} {PAX_XATTR_PREFIX}{key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run_with;

    /// GNU tar is the judge of what is written here.
    #[test]
    fn gnu_tar_reads_what_is_written() {
        let layer = Layer::new()
            .dir("d")
            .file("d/f", b"hello")
            .symlink("d/s", "f")
            .hardlink("d/h", "d/f")
            .entry(&Entry { device: (1, 3), ..Entry::new(b"d/null", b'3') })
            .entry(&Entry { xattrs: &[("user.colour", b"blue")], data: b"x", ..Entry::new(b"d/x", b'0') })
            .entry(&Entry::new(format!("d/{}", "n".repeat(150)).as_bytes(), b'0'))
            .sparse("d/sparse", 2 << 30, 1 << 20, b"here");
        let mut tar = std::process::Command::new("tar");
        tar.args(["-tvf", "-"]);
        let listing = run_with(tar, &layer.tar()).ok();
        for wanted in ["d/s -> f", "link to d/f", "1,3", "2147483648", &"n".repeat(150)] {
            assert!(listing.contains(wanted), "{wanted} not in\n{listing}");
        }
    }

    #[test]
    fn a_pax_record_counts_its_own_length() {
        for size in [1, 60, 70, 75, 76, 77, 900, 970, 980] {
            let record = pax_record("user.k", &vec![b'v'; size]);
            let text = String::from_utf8(record.clone()).unwrap();
            let (length, _) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), record.len());
        }
    }
}
