//! The attach socket: streams of one process of the sandbox per connection.
//!
//! The client sends one [`Attach`] frame (JSON of [`AttachRequest`]) and gets `Ready` or `Error`. Then frames flow
//! both ways until the process's output ends, when the shim sends `End` and closes. Nothing is replayed: what was
//! written before is in the log. Standard input has one owner at a time, the first client that asked for it.
//!
//! A frame is one byte of kind, four bytes of length (big endian), and the payload.
//!
//! [`Attach`]: FrameKind::Attach

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::unix_path;

/// Largest payload of a frame.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Client: what it wants, first frame.
    Attach = 0,
    /// Shim: the streams are connected; nothing written from now on is missed.
    Ready = 1,
    /// Shim: refused, with the reason as text.
    Error = 2,
    /// Client: bytes for standard input.
    Stdin = 3,
    /// Client: no more input (half close).
    CloseStdin = 4,
    /// Client: terminal size, two big-endian 16-bit numbers, columns and rows.
    Resize = 5,
    /// Shim: standard output (or the terminal).
    Stdout = 6,
    /// Shim: standard error.
    Stderr = 7,
    /// Shim: the output has ended.
    End = 8,
}

impl FrameKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Attach,
            1 => Self::Ready,
            2 => Self::Error,
            3 => Self::Stdin,
            4 => Self::CloseStdin,
            5 => Self::Resize,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::End,
            _ => return None,
        })
    }
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct AttachRequest {
    /// Container.
    pub id: String,
    /// Process; empty for the container's first one.
    pub exec_id: String,
    /// Wants to write standard input.
    pub stdin: bool,
    /// Wants standard output.
    pub stdout: bool,
    /// Wants standard error (without a terminal).
    pub stderr: bool,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Its payload.
    pub payload: Bytes,
}

impl Frame {
    /// A frame with a payload.
    pub fn new(kind: FrameKind, payload: impl Into<Bytes>) -> Self {
        Self { kind, payload: payload.into() }
    }

    /// A resize frame.
    #[must_use]
    pub fn resize(width: u16, height: u16) -> Self {
        let mut payload = [0; 4];
        payload[..2].copy_from_slice(&width.to_be_bytes());
        payload[2..].copy_from_slice(&height.to_be_bytes());
        Self::new(FrameKind::Resize, payload.to_vec())
    }

    /// Columns and rows of a resize frame.
    #[must_use]
    pub fn size(&self) -> Option<(u16, u16)> {
        match (self.kind, &self.payload[..]) {
            (FrameKind::Resize, [w0, w1, h0, h1]) => {
                Some((u16::from_be_bytes([*w0, *w1]), u16::from_be_bytes([*h0, *h1])))
            }
            _ => None,
        }
    }
}

/// Reads one frame; `None` when the peer closed between frames. Not cancel safe.
///
/// # Errors
/// `InvalidData` for an unknown kind or an oversize payload, else what the socket says.
pub async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0_u8; 5];
    let first = input.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[first..]).await?;
    let [kind, l0, l1, l2, l3] = header;
    let len = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let kind = FrameKind::from_byte(kind).ok_or_else(|| invalid(format!("attach frame of unknown kind {kind}")))?;
    if len > PAYLOAD_BYTES_MAX {
        return Err(invalid(format!("attach frame of {len} bytes, the limit is {PAYLOAD_BYTES_MAX}")));
    }
    let mut payload = vec![0; len];
    input.read_exact(&mut payload).await?;
    Ok(Some(Frame { kind, payload: payload.into() }))
}

/// Writes one frame; a larger payload goes out as several.
///
/// # Errors
/// What the socket says.
pub async fn write_frame(output: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut rest = frame.payload.clone();
    loop {
        let part = rest.split_to(rest.len().min(PAYLOAD_BYTES_MAX));
        let mut buffer = Vec::with_capacity(5 + part.len());
        buffer.push(frame.kind as u8);
        buffer.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
        buffer.extend_from_slice(&part);
        output.write_all(&buffer).await?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// The reading half of an attached client.
#[derive(Debug)]
pub struct AttachReader(OwnedReadHalf);

impl AttachReader {
    /// The next `Stdout`, `Stderr` or `End` frame; `None` when the shim closed without `End`. Not cancel safe.
    ///
    /// # Errors
    /// As [`read_frame`].
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        read_frame(&mut self.0).await
    }
}

/// The writing half of an attached client.
#[derive(Debug)]
pub struct AttachWriter(OwnedWriteHalf);

impl AttachWriter {
    /// Sends bytes to standard input.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn stdin(&mut self, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        write_frame(&mut self.0, &Frame::new(FrameKind::Stdin, bytes)).await
    }

    /// Says that no more input comes.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn close_stdin(&mut self) -> io::Result<()> {
        write_frame(&mut self.0, &Frame::new(FrameKind::CloseStdin, Bytes::new())).await
    }

    /// Sets the terminal's size, in characters.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn resize(&mut self, width: u16, height: u16) -> io::Result<()> {
        write_frame(&mut self.0, &Frame::resize(width, height)).await
    }
}

/// Connects to the attach socket at `socket` and waits until the streams are connected.
///
/// # Errors
/// `NotFound` with the shim's reason for an unknown process, else what the socket says.
pub async fn attach(socket: &Path, request: &AttachRequest) -> io::Result<(AttachReader, AttachWriter)> {
    let stream: UnixStream = unix_path::connect(socket).await?;
    let (mut input, mut output) = stream.into_split();
    let hello = serde_json::to_vec(request).map_err(io::Error::other)?;
    write_frame(&mut output, &Frame::new(FrameKind::Attach, hello)).await?;
    match read_frame(&mut input).await? {
        Some(Frame { kind: FrameKind::Ready, .. }) => Ok((AttachReader(input), AttachWriter(output))),
        Some(Frame { kind: FrameKind::Error, payload }) => {
            Err(io::Error::new(io::ErrorKind::NotFound, String::from_utf8_lossy(&payload).into_owned()))
        }
        Some(frame) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {:?} frame", frame.kind))),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim closed the attach connection")),
    }
}
