//! Writing and reading netlink messages. Lengths are checked, never truncated.

use std::io;

use super::socket::invalid_data;

/// Length of `nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;
/// Length of `nlattr`.
const ATTR_HEADER_LEN: usize = 4;
/// Marks an attribute whose payload is attributes.
const NLA_F_NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are its type.
const NLA_TYPE_MASK: u16 = 0x3fff;

fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// One netlink message being written.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
    /// An attribute did not fit its 16-bit length; the message must not be sent.
    overflow: bool,
}

impl Message {
    /// A message of type `kind` with its family header (`ifinfomsg`, `nfgenmsg`, …).
    pub fn new(kind: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(family_header);
        bytes.resize(align(bytes.len()), 0);
        Self { bytes, overflow: false }
    }

    /// Adds an attribute.
    pub fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.nest_raw(kind, |message| message.bytes.extend_from_slice(payload))
    }

    /// Adds a text attribute with its closing zero.
    pub fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.nest_raw(kind, |message| {
            message.bytes.extend_from_slice(text.as_bytes());
            message.bytes.push(0);
        })
    }

    /// Adds a 32-bit number in the machine's order, as rtnetlink has it.
    pub fn u32_ne(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a 32-bit number in network order, as nfnetlink has it.
    pub fn u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute made of attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_raw(kind | NLA_F_NESTED, fill)
    }

    /// Adds an attribute made of attributes, without the flag that says so: what `VETH_INFO_PEER` wants.
    pub fn nest_raw(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTR_HEADER_LEN]);
        fill(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(len) => {
                self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
                self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
            }
            Err(_) => self.overflow = true,
        }
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    /// Adds bytes as they are, for headers inside of attributes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    /// Appends the finished message to `batch` with sequence number `seq` and additional header `flags`.
    ///
    /// # Errors
    /// `InvalidInput` when an attribute is longer than its length field can say.
    pub fn append_to(&self, batch: &mut Vec<u8>, seq: u32, flags: u16) -> io::Result<()> {
        let len = u32::try_from(self.bytes.len()).ok().filter(|_| !self.overflow);
        let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "netlink attribute is too long"))?;
        let start = batch.len();
        batch.extend_from_slice(&self.bytes);
        batch[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        let all_flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        batch[start + 6..start + 8].copy_from_slice(&all_flags.to_ne_bytes());
        batch[start + 8..start + 12].copy_from_slice(&seq.to_ne_bytes());
        Ok(())
    }
}

/// One message read from the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) pid: u32,
    pub(crate) payload: &'a [u8],
}

/// Splits a datagram into its messages; calls `each` for every one.
pub(crate) fn split<'a>(
    mut datagram: &'a [u8],
    mut each: impl FnMut(Received<'a>) -> io::Result<()>,
) -> io::Result<()> {
    while datagram.len() >= HEADER_LEN {
        let len = read_u32(datagram, 0)? as usize;
        if len < HEADER_LEN || len > datagram.len() {
            return Err(invalid_data("netlink message has a wrong length"));
        }
        each(Received {
            kind: read_u16(datagram, 4)?,
            flags: read_u16(datagram, 6)?,
            seq: read_u32(datagram, 8)?,
            pid: read_u32(datagram, 12)?,
            payload: &datagram[HEADER_LEN..len],
        })?;
        datagram = datagram.get(align(len)..).unwrap_or_default();
    }
    Ok(())
}

/// Iterates over `(type, payload)` of attributes; stops at the first malformed one.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that begin `skip` bytes into `payload`, after the family header.
    pub fn after(payload: &'a [u8], skip: usize) -> Self {
        Self(payload.get(align(skip)..).unwrap_or_default())
    }
    /// The payload of the first attribute of type `kind`.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(k, payload)| (k == kind).then_some(payload))
    }
    /// The text of the first attribute of type `kind`, without its closing zero.
    pub fn find_text(&self, kind: u16) -> Option<String> {
        let bytes = self.find(kind)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
    /// The number of the first attribute of type `kind`, in the machine's order.
    pub fn find_u32(&self, kind: u16) -> Option<u32> {
        read_u32(self.find(kind)?, 0).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(read_u16(self.0, 0).ok()?);
        let kind = read_u16(self.0, 2).ok()? & NLA_TYPE_MASK;
        let payload = self.0.get(ATTR_HEADER_LEN..len)?;
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// Two bytes at `at` in the machine's order.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> io::Result<u16> {
    let slice = bytes.get(at..at + 2).ok_or_else(|| invalid_data("netlink message is too short"))?;
    Ok(u16::from_ne_bytes([slice[0], slice[1]]))
}

/// Four bytes at `at` in the machine's order.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> io::Result<u32> {
    let slice = bytes.get(at..at + 4).ok_or_else(|| invalid_data("netlink message is too short"))?;
    Ok(u32::from_ne_bytes([slice[0], slice[1], slice[2], slice[3]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Message::new(16, 1, &[0; 16]);
        message.text(3, "eth0").nest(18, |m| {
            m.u32_ne(1, 7);
        });
        let mut batch = Vec::new();
        message.append_to(&mut batch, 9, 4).unwrap();
        let mut seen = 0;
        split(&batch, |m| {
            seen += 1;
            assert_eq!((m.kind, m.flags, m.seq), (16, 5, 9));
            let attributes = Attributes::after(m.payload, 16);
            assert_eq!(attributes.find_text(3).as_deref(), Some("eth0"));
            let inner = Attributes::after(attributes.find(18).unwrap(), 0);
            assert_eq!(inner.find_u32(1), Some(7));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn an_attribute_longer_than_its_length_field_is_refused() {
        let mut message = Message::new(16, 0, &[]);
        message.attr(1, &vec![0; 70_000]);
        let error = message.append_to(&mut Vec::new(), 1, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = split(&bytes, |m| { Attributes::after(m.payload, 4).for_each(drop); Ok(()) });
            Attributes::after(&bytes, 0).for_each(drop);
        }
    }
}
