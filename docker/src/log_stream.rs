//! Log lines -> bytes on the wire.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use engine::container::{LogLine, LogReceiver, Stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::reply::Pieces;
use crate::stream_frame;
use crate::time;

/// How lines are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// In 8-byte frames; raw for terminals.
    pub(crate) framed: bool,
    /// With the time in front of each line.
    pub(crate) timestamps: bool,
    /// With what the log's options tell of the container in front of each line.
    pub(crate) details: bool,
}

/// Copies lines until the log or the client ends. An error in the middle is told on stream 3 and ends the copy.
pub(crate) async fn copy(mut lines: LogReceiver, pieces: Pieces, format: Format) {
    let mut writer = Writer::new(format);
    loop {
        let next = tokio::select! {
            next = lines.recv() => next,
            () = pieces.closed() => return,
        };
        let piece = match next {
            None => return,
            Some(Ok(line)) => writer.piece(&line),
            Some(Err(error)) => {
                let text = format!("Error grabbing logs: {error}\n");
                let last = if format.framed { stream_frame::system_error(&text) } else { Bytes::from(text) };
                drop(pieces.send(last).await);
                return;
            }
        };
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// Remembers for each stream whether its next piece begins a line: only those get a time.
struct Writer {
    format: Format,
    stdout_begins: bool,
    stderr_begins: bool,
}

impl Writer {
    fn new(format: Format) -> Self {
        Self { format, stdout_begins: true, stderr_begins: true }
    }
    fn piece(&mut self, line: &LogLine) -> Bytes {
        let begins = match line.stream {
            Stream::Stdout => &mut self.stdout_begins,
            Stream::Stderr => &mut self.stderr_begins,
        };
        let mut data = BytesMut::with_capacity(line.data.len() + 40);
        if self.format.timestamps && *begins {
            data.put_slice(time::rfc3339_nine(line.time_ns).as_bytes());
            data.put_u8(b' ');
        }
        if self.format.details && *begins {
            data.put_slice(details(&line.attributes).as_bytes());
            data.put_u8(b' ');
        }
        data.put_slice(&line.data);
        *begins = line.data.ends_with(b"\n");
        if self.format.framed { stream_frame::frame(line.stream, &data) } else { data.freeze() }
    }
}

/// `a=1,b=2`, escaped as in a query.
fn details(attributes: &BTreeMap<String, String>) -> String {
    // What Go's `url.QueryEscape` leaves as it is.
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let escape = |text: &str| utf8_percent_encode(text, KEPT).to_string().replace("%20", "+");
    let pairs: Vec<String> =
        attributes.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_front_of_lines_not_of_pieces() {
        let mut writer = Writer::new(Format { framed: false, timestamps: true, details: false });
        let mut line = |stream, text: &'static str| {
            let (time_ns, attributes) = (1_700_000_000_000_000_001, BTreeMap::new());
            let line = LogLine { time_ns, stream, data: Bytes::from_static(text.as_bytes()), attributes };
            String::from_utf8(writer.piece(&line).to_vec()).unwrap()
        };
        assert_eq!(line(Stream::Stdout, "long "), "2023-11-14T22:13:20.000000001Z long ");
        assert_eq!(line(Stream::Stderr, "other\n"), "2023-11-14T22:13:20.000000001Z other\n");
        assert_eq!(line(Stream::Stdout, "end\n"), "end\n");
        assert_eq!(line(Stream::Stdout, "next\n"), "2023-11-14T22:13:20.000000001Z next\n");
    }

    #[test]
    fn framed_lines_carry_their_stream() {
        let mut writer = Writer::new(Format { framed: true, timestamps: false, details: true });
        let attributes = BTreeMap::from([("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), "=".to_owned())]);
        let line = LogLine { time_ns: 1, stream: Stream::Stderr, data: Bytes::from_static(b"x\n"), attributes };
        assert_eq!(&writer.piece(&line)[..], b"\x02\0\0\0\0\0\0\x0ea=1+2,b=%3D x\n");
    }
}
