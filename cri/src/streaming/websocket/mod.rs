//! The WebSocket side: channels in messages (`v4.channel.k8s.io`, `v5.channel.k8s.io`), and SPDY tunnelled in messages.

mod message;
mod session;
mod tunnel;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

pub(super) use message::Framing;
pub(super) use session::Session;
pub(super) use tunnel::Tunnel;

/// Longest message taken; clients send 32 KiB at once.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Bytes read from the socket at once.
const READ_BYTES: usize = 16 << 10;

/// A connection whose handshake is done.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(connection: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}
