//! The two formats of log lines, written by the shim and read by the engine.
//!
//! CRI: `2016-10-06T00:17:09.669794202Z stdout F message`, tag `P` for a part of a line, `F` for its end.
//! json-file: `{"log":"message\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}`, as docker writes it; a
//! part of a line has no `\n` at its end.

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

/// Appends a line (without its newline) in docker's json-file format.
pub fn write_json(out: &mut Vec<u8>, time_ns: i64, stream: Stream, message: &[u8], partial: bool) {
    out.extend_from_slice(b"{\"log\":\"");
    escape_json(out, message);
    if !partial {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(&write_rfc3339(time_ns));
    out.extend_from_slice(b"\"}\n");
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
    Some(LogLine { time_ns, stream, message: fields.next().unwrap_or_default().to_vec(), partial })
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    log: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
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
    Some(LogLine { time_ns, stream, message, partial })
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
        write_json(&mut out, TIME, Stream::Stdout, b"<a>&\"\\\x01\xff\t", false);
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
            (write_json, parse_json),
        ] {
            let mut out = Vec::new();
            write(&mut out, TIME, Stream::Stdout, b"part", true);
            let line = parse(&out).unwrap();
            assert!(line.partial);
            assert_eq!(line.message, b"part");
        }
    }
}
