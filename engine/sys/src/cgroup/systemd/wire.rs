//! The little of the D-Bus wire format that talking to systemd takes (D-Bus Specification, "Message Protocol").
//!
//! Messages are in this host's byte order, which systemd on the same host shares.

use std::fmt;

/// Longer messages are refused; systemd's own limit for what it sends is far below.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The part of a message that says how long the rest is.
pub(super) const PREFIX_BYTES: usize = 16;

const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
const METHOD_CALL: u8 = 1;
pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// A message that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed D-Bus message: {}", self.0)
    }
}

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cgroup) enum Value {
    Bool(bool),
    U64(u64),
    Text(String),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// A property of a unit and its value.
pub(in crate::cgroup) type Property = (&'static str, Value);

/// Writes values one after the other, each at its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    pub(super) fn text(&mut self, value: &str) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, value: &str) {
        self.byte(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    /// An array whose elements are aligned to `alignment`. Its length counts from the first element on.
    fn array(&mut self, alignment: usize, write: impl FnOnce(&mut Self)) {
        self.align(4);
        let length_at = self.bytes.len();
        self.u32(0);
        self.align(alignment);
        let start = self.bytes.len();
        write(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::U64(value) => self.u64(*value),
            Value::Text(value) => self.text(value),
            Value::Bytes(values) => self.array(1, |w| w.bytes.extend(values)),
            Value::Numbers(values) => self.array(4, |w| values.iter().for_each(|value| w.u32(*value))),
            Value::Pairs(pairs) => self.array(8, |w| {
                for (first, second) in pairs {
                    w.align(8);
                    w.text(first);
                    w.text(second);
                }
            }),
        }
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.text(name);
                w.variant(value);
            }
        });
    }

    /// `a(sa(sv))` without an element: the units that come along with a transient one.
    pub(super) fn no_auxiliary_units(&mut self) {
        self.array(8, |_| {});
    }
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// The bytes of a method call with a body of this signature.
pub(super) fn method_call(serial: u32, target: Target, member: &str, signature: &str, body: &Writer) -> Vec<u8> {
    let mut message = Writer::default();
    message.bytes.extend([ENDIAN, METHOD_CALL, 0, 1]);
    message.u32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    message.u32(serial);
    message.array(8, |w| {
        let fields = [
            (FIELD_PATH, "o", target.path),
            (FIELD_INTERFACE, "s", target.interface),
            (FIELD_MEMBER, "s", member),
            (FIELD_DESTINATION, "s", target.destination),
        ];
        for (field, kind, value) in fields {
            w.align(8);
            w.byte(field);
            w.signature(kind);
            w.text(value);
        }
        if !signature.is_empty() {
            w.align(8);
            w.byte(FIELD_SIGNATURE);
            w.signature("g");
            w.signature(signature);
        }
    });
    message.align(8);
    message.bytes.extend(&body.bytes);
    message.bytes
}

/// How long a message is, of its first [`PREFIX_BYTES`] bytes.
pub(super) fn message_length(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, Malformed> {
    if prefix[0] != ENDIAN {
        return Err(Malformed("not in this host's byte order"));
    }
    if prefix[3] != 1 {
        return Err(Malformed("not version 1 of the protocol"));
    }
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&prefix[at..at + 4]);
        usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let (body, fields) = (number(4), number(12));
    if body > MESSAGE_BYTES_MAX || fields > MESSAGE_BYTES_MAX {
        return Err(Malformed("longer than is allowed"));
    }
    Ok((PREFIX_BYTES + fields).next_multiple_of(8) + body)
}

/// A message that came in: what is of interest here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) member: String,
    pub(super) interface: String,
    pub(super) error_name: String,
    pub(super) reply_serial: u32,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Reads a whole message.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let prefix = bytes.first_chunk::<PREFIX_BYTES>().ok_or(Malformed("cut short"))?;
        if message_length(prefix)? != bytes.len() {
            return Err(Malformed("not as long as it says"));
        }
        let mut reader = Reader { bytes, at: 12 };
        let fields_end = usize::try_from(reader.u32()?).unwrap_or(usize::MAX).saturating_add(PREFIX_BYTES);
        let mut message = Self { kind: bytes[1], ..Self::default() };
        while reader.at < fields_end {
            reader.align(8);
            let field = reader.byte()?;
            let signature = reader.signature()?;
            match signature.as_str() {
                "s" | "o" => {
                    let text = reader.text()?;
                    match field {
                        FIELD_MEMBER => message.member = text,
                        FIELD_INTERFACE => message.interface = text,
                        FIELD_ERROR_NAME => message.error_name = text,
                        _ => {}
                    }
                }
                "g" => {
                    let text = reader.signature()?;
                    if field == FIELD_SIGNATURE {
                        message.signature = text;
                    }
                }
                "u" => {
                    let number = reader.u32()?;
                    if field == FIELD_REPLY_SERIAL {
                        message.reply_serial = number;
                    }
                }
                _ => return Err(Malformed("a header field of an unknown type")),
            }
        }
        reader.align(8);
        message.body = bytes.get(reader.at..).ok_or(Malformed("cut short"))?.to_vec();
        Ok(message)
    }

    /// Reads the body, which begins at an alignment of its own.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

/// Reads values one after the other, each at its alignment.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed("cut short"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed("cut short"))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_ne_bytes(bytes))
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = self.take(length)?.to_vec();
        if self.byte()? != 0 {
            return Err(Malformed("a text without its NUL"));
        }
        String::from_utf8(text).map_err(|_| Malformed("a text that is not UTF-8"))
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TARGET: Target = Target { destination: "a.b", path: "/p", interface: "i.f" };

    #[test]
    fn a_call_without_a_body_is_these_bytes() {
        let bytes = method_call(7, TARGET, "Hello", "", &Writer::default());
        let mut expected = b"l\x01\x00\x01\0\0\0\0\x07\0\0\0\x3c\0\0\0".to_vec();
        expected.extend(b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0");
        expected.extend(b"\x02\x01s\0\x03\0\0\0i.f\0\0\0\0\0");
        expected.extend(b"\x03\x01s\0\x05\0\0\0Hello\0\0\0");
        expected.extend(b"\x06\x01s\0\x03\0\0\0a.b\0");
        expected.extend([0; 4]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn properties_are_these_bytes() {
        let mut body = Writer::default();
        body.properties(&[("Delegate", Value::Bool(true)), ("PIDs", Value::Numbers(vec![5]))]);
        // The length counts from the first structure, at 8, without the padding before it.
        let mut expected = b"\x34\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0\0\0\0\0");
        expected.resize(32, 0);
        expected.extend(b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x05\0\0\0");
        expected[0] = u8::try_from(expected.len() - 8).unwrap();
        assert_eq!(body.bytes, expected);
    }

    #[test]
    fn pairs_are_structures_at_multiples_of_eight() {
        let mut body = Writer::default();
        body.variant(&Value::Pairs(vec![("a".to_owned(), "r".to_owned()), ("b".to_owned(), "w".to_owned())]));
        // The length stands at 8, the first structure at 16.
        let mut expected = b"\x05a(ss)\0\0\x1e\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\x01\0\0\0a\0\0\0\x01\0\0\0r\0\0\0");
        expected.extend(b"\x01\0\0\0b\0\0\0\x01\0\0\0w\0");
        assert_eq!(body.bytes, expected);
    }

    fn signal() -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(9);
        body.text("/job/9");
        body.text("x.scope");
        body.text("done");
        let mut bytes = method_call(1, TARGET, "JobRemoved", "uoss", &body);
        bytes[1] = SIGNAL;
        bytes
    }

    #[test]
    fn what_is_written_can_be_read() {
        let message = Message::parse(&signal()).unwrap();
        assert_eq!((message.kind, message.member.as_str(), message.signature.as_str()), (SIGNAL, "JobRemoved", "uoss"));
        let mut reader = message.reader();
        assert_eq!(reader.u32(), Ok(9));
        let texts = [reader.text().unwrap(), reader.text().unwrap(), reader.text().unwrap()];
        assert_eq!(texts, ["/job/9", "x.scope", "done"]);
        assert_eq!(reader.u32(), Err(Malformed("cut short")));
    }

    #[test]
    fn no_cut_or_changed_message_panics() {
        let bytes = signal();
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(message) = Message::parse(&changed) {
                    let mut reader = message.reader();
                    let _ = reader.u32().and_then(|_| reader.text()).and_then(|_| reader.text());
                }
            }
        }
    }
}
