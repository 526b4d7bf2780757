//! PURE. The 8-byte frames that carry two streams over one connection: `[stream, 0, 0, 0, length as big-endian u32]`.

use bytes::{BufMut, Bytes, BytesMut};
use engine::container::Stream;

/// Bytes of a frame's header.
const HEADER_LEN: usize = 8;

/// The number of a stream on the wire.
fn number(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

/// One frame.
pub(crate) fn frame(stream: Stream, data: &[u8]) -> Bytes {
    with_number(number(stream), data)
}

/// A frame of stream 3: an error of the engine, not of the container.
pub(crate) fn system_error(message: &str) -> Bytes {
    with_number(3, message.as_bytes())
}

fn with_number(number: u8, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + data.len());
    out.put_slice(&[number, 0, 0, 0]);
    out.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    out.put_slice(data);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_stream_zeros_length_and_data() {
        assert_eq!(&frame(Stream::Stdout, b"hi\n")[..], b"\x01\0\0\0\0\0\0\x03hi\n");
        assert_eq!(&frame(Stream::Stderr, b"")[..], b"\x02\0\0\0\0\0\0\0");
        assert_eq!(&system_error("no")[..], b"\x03\0\0\0\0\0\0\x02no");
        let long = vec![7; 70_000];
        assert_eq!(&frame(Stream::Stdout, &long)[..8], b"\x01\0\0\0\0\x01\x11\x70");
    }
}
