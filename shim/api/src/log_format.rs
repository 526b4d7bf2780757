//! The formats of log lines, written by the shim and read by the engine.
//!
//! CRI: `2016-10-06T00:17:09.669794202Z stdout F message`, tag `P` for a part of a line, `F` for its end.
//! json-file: `{"log":"message\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}`, as docker writes it; a
//! part of a line has no `\n` at its end. Behind the stream there may be `"attrs":{...}`.
//!
//! local: binary records as those of docker's driver of this name. A record is its length as four bytes, big-endian, a
//! protobuf message (1 the stream's name, 2 the time in nanoseconds, 3 the line without its newline, 4 whether more of
//! the line follows), and the length again, so that files are read backwards as well.

use std::collections::BTreeMap;

use prost::Message as _;
use serde::Deserialize;

use crate::time::{parse_rfc3339, write_rfc3339};

/// Longer lines are written in parts of this size (docker's and CRI's limit).
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// One line, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read from the container, nanoseconds since 1970.
    pub time_ns: i64,
    /// Where it came from.
    pub stream: Stream,
    /// The text as the container wrote it, without the newline.
    pub message: Vec<u8>,
    /// More of the same line follows.
    pub partial: bool,
    /// What the record says beside its line (json-file).
    pub attributes: BTreeMap<String, String>,
}

/// Bytes of a record of the local format beside its message.
pub const LOCAL_FRAME_BYTES: usize = 8;
/// A longer message is none that a shim wrote.
pub const LOCAL_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The message of a record of the local format.
#[derive(Clone, PartialEq, prost::Message)]
struct LocalEntry {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(int64, tag = "2")]
    time_ns: i64,
    #[prost(bytes = "vec", tag = "3")]
    line: Vec<u8>,
    #[prost(bool, tag = "4")]
    partial: bool,
}

/// Appends a line (without its newline) in the local format.
pub fn write_local(out: &mut Vec<u8>, time_ns: i64, stream: Stream, message: &[u8], partial: bool) {
    let entry = LocalEntry { source: stream.name().to_owned(), time_ns, line: message.to_vec(), partial };
    let length = u32::try_from(entry.encoded_len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length);
    entry.encode_raw(out);
    out.extend_from_slice(&length);
}

/// Reads the message of a record of the local format; `None` when it is not one.
#[must_use]
pub fn parse_local(message: &[u8]) -> Option<LogLine> {
    let entry = LocalEntry::decode(message).ok()?;
    let stream = Stream::from_name(entry.source.as_bytes())?;
    let LocalEntry { time_ns, line, partial, .. } = entry;
    Some(LogLine { time_ns, stream, message: line, partial, attributes: BTreeMap::new() })
}

/// Length of the record of the local format at the start of `bytes`, its frame included; `None` when it is not whole.
#[must_use]
pub fn local_record_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length))?;
    let whole = usize::try_from(length).ok()? + LOCAL_FRAME_BYTES;
    (whole <= bytes.len()).then_some(whole)
}

/// Appends a line (without its newline) in the CRI format.
pub fn write_cri(out: &mut Vec<u8>, time_ns: i64, stream: Stream, message: &[u8], partial: bool) {
    out.extend_from_slice(&write_rfc3339(time_ns));
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(if partial { b" P " } else { b" F " });
    out.extend_from_slice(message);
    out.push(b'\n');
}

/// Appends a line (without its newline) in docker's json-file format. `attributes` is what [`json_attributes`] made.
pub fn write_json(out: &mut Vec<u8>, time_ns: i64, stream: Stream, message: &[u8], partial: bool, attributes: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    escape_json(out, message);
    if !partial {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(attributes);
    out.extend_from_slice(b"\"time\":\"");
    out.extend_from_slice(&write_rfc3339(time_ns));
    out.extend_from_slice(b"\"}\n");
}

/// The attributes of every record of a json-file log, as [`write_json`] takes them.
#[must_use]
pub fn json_attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    if attributes.is_empty() {
        return out;
    }
    out.extend_from_slice(b"\"attrs\":{");
    for (index, (name, value)) in attributes.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        escape_json(&mut out, name.as_bytes());
        out.extend_from_slice(b"\":\"");
        escape_json(&mut out, value.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"},");
    out
}

/// Escapes as docker does: `<`, `>`, `&` and the line separators too; bytes that are not UTF-8 become U+FFFD.
fn escape_json(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut plain_from = 0;
        let valid = chunk.valid();
        for (at, character) in valid.char_indices() {
            let escape: Option<&[u8]> = match character {
                '"' => Some(b"\\\""),
                '\\' => Some(b"\\\\"),
                '\n' => Some(b"\\n"),
                '\r' => Some(b"\\r"),
                '\t' => Some(b"\\t"),
                '<' => Some(b"\\u003c"),
                '>' => Some(b"\\u003e"),
                '&' => Some(b"\\u0026"),
                '\u{2028}' => Some(b"\\u2028"),
                '\u{2029}' => Some(b"\\u2029"),
                c if c < ' ' => None,
                _ => continue,
            };
            out.extend_from_slice(&valid.as_bytes()[plain_from..at]);
            match escape {
                Some(text) => out.extend_from_slice(text),
                None => out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
            }
            plain_from = at + character.len_utf8();
        }
        out.extend_from_slice(&valid.as_bytes()[plain_from..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Reads a line of a CRI log file (with or without its newline); `None` when it is not one.
#[must_use]
pub fn parse_cri(line: &[u8]) -> Option<LogLine> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time_ns = parse_rfc3339(fields.next()?)?;
    let stream = Stream::from_name(fields.next()?)?;
    let tags = fields.next()?;
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let message = fields.next().unwrap_or_default().to_vec();
    Some(LogLine { time_ns, stream, message, partial, attributes: BTreeMap::new() })
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    log: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// Reads a line of a json-file log; `None` when it is not one.
#[must_use]
pub fn parse_json(line: &[u8]) -> Option<LogLine> {
    let parsed: JsonLine<'_> = serde_json::from_slice(line).ok()?;
    let time_ns = parse_rfc3339(parsed.time.as_bytes())?;
    let stream = if parsed.stream.is_empty() { Stream::Stdout } else { Stream::from_name(parsed.stream.as_bytes())? };
    let mut message = parsed.log.into_owned().into_bytes();
    let partial = message.last() != Some(&b'\n');
    if !partial {
        message.pop();
    }
    Some(LogLine { time_ns, stream, message, partial, attributes: parsed.attrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i64 = 1_475_713_029_669_794_202;

    #[test]
    fn cri_lines_are_what_the_kubelet_reads() {
        let mut out = Vec::new();
        write_cri(&mut out, TIME, Stream::Stderr, b"a b", false);
        assert_eq!(out, b"2016-10-06T00:17:09.669794202Z stderr F a b\n");
        let line = parse_cri(&out).unwrap();
        assert_eq!(
            (line.time_ns, line.stream, &line.message[..], line.partial),
            (TIME, Stream::Stderr, &b"a b"[..], false)
        );
        assert_eq!(parse_cri(b"2016-10-06T00:17:09Z stdout P ").unwrap().message, b"");
        assert_eq!(parse_cri(b"nonsense"), None);
    }

    #[test]
    fn json_lines_are_what_docker_writes() {
        let mut out = Vec::new();
        write_json(&mut out, TIME, Stream::Stdout, b"<a>&\"\\\x01\xff\t", false, b"");
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            "{\"log\":\"\\u003ca\\u003e\\u0026\\\"\\\\\\u0001\\ufffd\\t\\n\",\"stream\":\"stdout\",\"time\":\"2016-10-06T00:17:09.669794202Z\"}\n"
        );
        let line = parse_json(&out).unwrap();
        assert_eq!(line.message, "<a>&\"\\\u{1}\u{fffd}\t".as_bytes());
        assert!(!line.partial);
    }

    #[test]
    fn parts_of_lines_round_trip() {
        for (write, parse) in [
            (write_cri as fn(&mut Vec<u8>, i64, Stream, &[u8], bool), parse_cri as fn(&[u8]) -> Option<LogLine>),
            (|out, time, stream, text, partial| write_json(out, time, stream, text, partial, b""), parse_json),
            (write_local, |record| parse_local(&record[4..record.len() - 4])),
        ] {
            let mut out = Vec::new();
            write(&mut out, TIME, Stream::Stdout, b"part", true);
            let line = parse(&out).unwrap();
            assert!(line.partial);
            assert_eq!(line.message, b"part");
        }
    }

    #[test]
    fn attributes_are_told_behind_the_stream_as_docker_does() {
        let attributes = BTreeMap::from([("env".to_owned(), "a\"b".to_owned()), ("tag".to_owned(), "x".to_owned())]);
        let mut out = Vec::new();
        write_json(&mut out, TIME, Stream::Stdout, b"a", false, &json_attributes(&attributes));
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.contains(r#""stream":"stdout","attrs":{"env":"a\"b","tag":"x"},"time":"#), "{text}");
        assert_eq!(parse_json(&out).unwrap().attributes, attributes);
    }

    #[test]
    fn local_records_say_their_length_at_both_ends() {
        let mut out = Vec::new();
        write_local(&mut out, TIME, Stream::Stderr, b"a\xff", false);
        assert_eq!(out[..4], out[out.len() - 4..]);
        assert_eq!(local_record_len(&out), Some(out.len()));
        assert_eq!(local_record_len(&out[..out.len() - 1]), None);
        let line = parse_local(&out[4..out.len() - 4]).unwrap();
        assert_eq!((line.time_ns, line.stream, &line.message[..]), (TIME, Stream::Stderr, &b"a\xff"[..]));
    }
}
