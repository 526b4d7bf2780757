//! Frames: length, stream id, type, flags; then the message.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest message of the protocol (ttrpc's own limit).
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

const HEADER_LEN: usize = 10;
/// A frame up to this size is written with one call.
const COALESCE_BYTES_MAX: usize = 64 << 10;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A call.
    Request,
    /// Its answer.
    Response,
    /// A part of a stream; we make no streaming calls.
    Data,
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Odd, chosen by the client, one per call.
    pub stream_id: u32,
    /// What it carries.
    pub kind: FrameKind,
    /// The protobuf message.
    pub message: Bytes,
}

/// Reads one frame; `None` when the peer closed between frames.
///
/// # Errors
/// `InvalidData` for an oversize message or an unknown type, else what the socket says.
pub async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0_u8; HEADER_LEN];
    let first = input.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[first..]).await?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = header;
    let len = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if len > MESSAGE_BYTES_MAX {
        return Err(invalid(format!("ttrpc message of {len} bytes, the limit is {MESSAGE_BYTES_MAX}")));
    }
    let kind = match kind {
        1 => FrameKind::Request,
        2 => FrameKind::Response,
        3 => FrameKind::Data,
        other => return Err(invalid(format!("ttrpc frame of unknown type {other}"))),
    };
    let mut message = BytesMut::zeroed(len);
    input.read_exact(&mut message).await?;
    Ok(Some(Frame { stream_id: u32::from_be_bytes([s0, s1, s2, s3]), kind, message: message.freeze() }))
}

/// Writes one frame.
///
/// # Errors
/// `InvalidInput` for an oversize message, else what the socket says.
pub async fn write_frame(output: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let len = frame.message.len();
    if len > MESSAGE_BYTES_MAX {
        let what = format!("ttrpc message of {len} bytes, the limit is {MESSAGE_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let kind = match frame.kind {
        FrameKind::Request => 1,
        FrameKind::Response => 2,
        FrameKind::Data => 3,
    };
    let mut buffer = Vec::with_capacity(HEADER_LEN + len.min(COALESCE_BYTES_MAX));
    buffer.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    buffer.extend_from_slice(&frame.stream_id.to_be_bytes());
    buffer.extend_from_slice(&[kind, 0]);
    if len <= COALESCE_BYTES_MAX {
        buffer.extend_from_slice(&frame.message);
        return output.write_all(&buffer).await;
    }
    output.write_all(&buffer).await?;
    output.write_all(&frame.message).await
}
