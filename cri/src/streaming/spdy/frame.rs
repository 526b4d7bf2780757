//! PURE. Frames of SPDY/3.1 from bytes and back.
//!
//! Nothing is kept of a frame but what [`Decoder::decode`] returns: data comes in pieces as it arrives, however long the
//! frame, and control frames longer than [`CONTROL_BYTES_MAX`] are refused before they are read.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Violation;

/// Longest control frame; the headers of a stream take some hundred bytes.
pub(super) const CONTROL_BYTES_MAX: usize = 16 << 10;
/// Bytes before the content of every frame.
const HEAD_BYTES: usize = 8;
const VERSION: u16 = 3;
const CONTROL_BIT: u32 = 1 << 31;
const STREAM_BITS: u32 = CONTROL_BIT - 1;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset (`RST_STREAM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reset {
    InvalidStream = 2,
    Refused = 3,
    AlreadyClosed = 9,
}

/// A frame, or a piece of a data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins; `block` is its deflated headers.
    SynStream { stream: u32, fin: bool, unidirectional: bool, block: Bytes },
    /// More headers.
    Headers { stream: u32, fin: bool, block: Bytes },
    /// The stream is over, both ways.
    RstStream { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// No stream will be opened any more.
    GoAway,
    /// A piece of data; `fin` comes with the last.
    Data { stream: u32, fin: bool, data: Bytes },
    /// Settings, windows and kinds of frames that are not known: of no consequence.
    Other,
}

#[derive(Debug)]
enum State {
    Head,
    Data { stream: u32, fin: bool, left: usize },
}

/// Cuts frames out of a stream of bytes.
#[derive(Debug)]
pub(super) struct Decoder(State);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(State::Head)
    }

    /// The next frame, or `None` when more bytes are needed; never needs more than [`CONTROL_BYTES_MAX`] at once.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        if let State::Data { stream, fin, left } = self.0 {
            if bytes.is_empty() && left > 0 {
                return Ok(None);
            }
            let data = bytes.split_to(left.min(bytes.len())).freeze();
            let left = left - data.len();
            self.0 = if left == 0 { State::Head } else { State::Data { stream, fin, left } };
            return Ok(Some(Frame::Data { stream, fin: fin && left == 0, data }));
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [a, b, c, d, flags, l0, l1, l2] = *head;
        let word = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if word & CONTROL_BIT == 0 {
            if word == 0 {
                return Err(Violation("data on stream 0"));
            }
            bytes.advance(HEAD_BYTES);
            self.0 = State::Data { stream: word, fin: flags & FLAG_FIN != 0, left: length };
            return self.decode(bytes);
        }
        if length > CONTROL_BYTES_MAX {
            return Err(Violation("a control frame is too long"));
        }
        if bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        bytes.advance(HEAD_BYTES);
        let content = bytes.split_to(length).freeze();
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(Violation("a control frame of another version than SPDY/3"));
        }
        control(u16::from_be_bytes([c, d]), flags, content).map(Some)
    }
}

fn control(kind: u16, flags: u8, mut content: Bytes) -> Result<Frame, Violation> {
    let fin = flags & FLAG_FIN != 0;
    let needed = match kind {
        SYN_STREAM => 10,
        SYN_REPLY | HEADERS | SETTINGS | PING => 4,
        RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
        _ => return Ok(Frame::Other),
    };
    if content.len() < needed {
        return Err(Violation("a control frame is too short"));
    }
    let first = content.get_u32();
    let stream = first & STREAM_BITS;
    let of_a_stream = matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS);
    if of_a_stream && stream == 0 {
        return Err(Violation("a control frame of stream 0"));
    }
    Ok(match kind {
        SYN_STREAM => {
            // The stream it belongs to, its priority and a credential slot: not used by anyone.
            content.advance(6);
            Frame::SynStream { stream, fin, unidirectional: flags & FLAG_UNIDIRECTIONAL != 0, block: content }
        }
        SYN_REPLY => return Err(Violation("a reply to a stream that the server did not open")),
        HEADERS => Frame::Headers { stream, fin, block: content },
        RST_STREAM => Frame::RstStream { stream },
        PING => Frame::Ping { id: first },
        GOAWAY => Frame::GoAway,
        // Neither read nor answered: see the module `channel`.
        _ => Frame::Other,
    })
}

fn control_head(bytes: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    bytes.put_u16(VERSION | 0x8000);
    bytes.put_u16(kind);
    put_flags_and_length(bytes, flags, length);
}

fn put_flags_and_length(bytes: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    bytes.put_u32(u32::from(flags) << 24 | length);
}

/// Accepts a stream. `block` is the deflated headers.
pub(super) fn syn_reply(stream: u32, block: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + 4 + block.len());
    control_head(&mut bytes, SYN_REPLY, 0, 4 + block.len());
    bytes.put_u32(stream);
    bytes.put_slice(block);
    bytes.freeze()
}

/// Ends a stream both ways.
pub(super) fn rst_stream(stream: u32, why: Reset) -> Bytes {
    two_words(RST_STREAM, stream, why as u32)
}

/// Ends the connection because the client broke the protocol.
pub(super) fn go_away(last_stream: u32) -> Bytes {
    const PROTOCOL_ERROR: u32 = 1;
    two_words(GOAWAY, last_stream, PROTOCOL_ERROR)
}

/// Answers a ping.
pub(super) fn ping(id: u32) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + 4);
    control_head(&mut bytes, PING, 0, 4);
    bytes.put_u32(id);
    bytes.freeze()
}

fn two_words(kind: u16, first: u32, second: u32) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + 8);
    control_head(&mut bytes, kind, 0, 8);
    bytes.put_u32(first);
    bytes.put_u32(second);
    bytes.freeze()
}

/// Appends a data frame.
pub(super) fn put_data(bytes: &mut BytesMut, stream: u32, fin: bool, data: &[u8]) {
    bytes.put_u32(stream & STREAM_BITS);
    put_flags_and_length(bytes, if fin { FLAG_FIN } else { 0 }, data.len());
    bytes.put_slice(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, Violation> {
        let (mut decoder, mut left, mut frames) = (Decoder::new(), BytesMut::from(bytes), Vec::new());
        while let Some(frame) = decoder.decode(&mut left)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn syn(stream: u32, flags: u8, length: usize, content: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        control_head(&mut bytes, SYN_STREAM, flags, length);
        bytes.put_u32(stream);
        bytes.put_slice(&[0; 6]);
        bytes.put_slice(content);
        bytes.to_vec()
    }

    #[test]
    fn frames_of_a_client() {
        let frames = decode_all(&syn(1, FLAG_FIN, 13, b"abc")).unwrap();
        let block = Bytes::from_static(b"abc");
        assert_eq!(frames, [Frame::SynStream { stream: 1, fin: true, unidirectional: false, block }]);
        assert_eq!(decode_all(&ping(7)).unwrap(), [Frame::Ping { id: 7 }]);
        assert_eq!(decode_all(&rst_stream(5, Reset::Refused)).unwrap(), [Frame::RstStream { stream: 5 }]);
        assert_eq!(decode_all(&go_away(5)).unwrap(), [Frame::GoAway]);
        let mut bytes = BytesMut::new();
        put_data(&mut bytes, 3, true, b"");
        put_data(&mut bytes, 3, false, b"xy");
        let data = |fin, data: &'static [u8]| Frame::Data { stream: 3, fin, data: Bytes::from_static(data) };
        assert_eq!(decode_all(&bytes).unwrap(), [data(true, b""), data(false, b"xy")]);
    }

    #[test]
    fn breaches_are_named_before_anything_is_kept() {
        let long = [0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff];
        assert_eq!(decode_all(&long), Err(Violation("a control frame is too long")));
        let old = [0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
        assert!(decode_all(&old).unwrap_err().0.contains("version"));
        assert!(decode_all(&syn(0, 0, 10, b"")).unwrap_err().0.contains("stream 0"));
        assert!(decode_all(&[0, 0, 0, 0, 0, 0, 0, 1, 9]).unwrap_err().0.contains("stream 0"));
        assert!(decode_all(&[0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1]).unwrap_err().0.contains("short"));
        assert!(decode_all(&syn_reply(2, b"")).unwrap_err().0.contains("reply"));
    }

    #[test]
    fn settings_windows_and_unknown_kinds_pass_by() {
        // A SETTINGS frame that claims four thousand million entries allocates nothing.
        let settings = [0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
        let window = two_words(WINDOW_UPDATE, 1, u32::MAX);
        let unknown = [0x80, 3, 0, 99, 0xff, 0, 0, 2, 1, 2];
        let all = [&settings[..], &window, &unknown, &ping(1)].concat();
        assert_eq!(decode_all(&all).unwrap(), [Frame::Other, Frame::Other, Frame::Other, Frame::Ping { id: 1 }]);
    }

    #[test]
    fn a_long_data_frame_comes_in_pieces() {
        let mut decoder = Decoder::new();
        let mut bytes = BytesMut::from(&[0, 0, 0, 1, FLAG_FIN, 0xff, 0xff, 0xff, 1, 2][..]);
        let piece = Frame::Data { stream: 1, fin: false, data: Bytes::from_static(&[1, 2]) };
        assert_eq!(decoder.decode(&mut bytes), Ok(Some(piece)));
        assert_eq!(decoder.decode(&mut bytes), Ok(None));
        bytes.extend_from_slice(&vec![3; 0xff_ffff - 2]);
        let Ok(Some(Frame::Data { fin: true, data, .. })) = decoder.decode(&mut bytes) else { panic!("no data") };
        assert_eq!(data.len(), 0xff_ffff - 2);
        assert_eq!(decoder.decode(&mut bytes), Ok(None));
    }

    /// Data pieces joined, as a reader of the streams sees them.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut all: Vec<Frame> = Vec::new();
        let mut open = false;
        for frame in frames {
            if let (Some(Frame::Data { stream: s, fin: f, data: d }), Frame::Data { stream, fin, data }) =
                (all.last_mut(), &frame)
                && open
                && s == stream
            {
                *d = [&d[..], data].concat().into();
                *f = *fin;
            } else {
                all.push(frame.clone());
            }
            open = matches!(frame, Frame::Data { fin: false, .. });
        }
        all
    }

    proptest! {
        /// Whatever comes, in whatever pieces: an answer or an error, never a panic, never a wait for more than a
        /// control frame's length.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (mut decoder, mut left) = (Decoder::new(), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = decoder.decode(&mut left) {}
            prop_assert!(left.len() <= bytes.len());
        }

        /// The same frames whether the bytes come at once or one by one.
        #[test]
        fn cuts_do_not_matter(
            frames in proptest::collection::vec((1_u32..9, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..9),
            cut in 1_usize..13,
        ) {
            let mut bytes = BytesMut::new();
            for (n, (stream, fin, data)) in frames.iter().enumerate() {
                put_data(&mut bytes, *stream, *fin, data);
                bytes.put_slice(&ping(u32::try_from(n).unwrap()));
            }
            let whole = decode_all(&bytes).unwrap();
            let (mut decoder, mut left, mut pieces) = (Decoder::new(), BytesMut::new(), Vec::new());
            for part in bytes.chunks(cut) {
                left.extend_from_slice(part);
                while let Some(frame) = decoder.decode(&mut left).unwrap() {
                    pieces.push(frame);
                }
            }
            prop_assert_eq!(joined(pieces), joined(whole));
        }
    }
}
