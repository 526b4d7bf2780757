//! ttrpc, the protocol between an engine and its shims: protobuf requests in frames with a ten-byte header.
//!
//! Only unary calls, which is all that the shim v2 protocol has. Everything is bounded: message size, calls in
//! flight, connections, frames waiting to be written.

mod client;
mod frame;
mod server;
mod status;

pub use client::Client;
pub use frame::{Frame, FrameKind, MESSAGE_BYTES_MAX, read_frame, write_frame};
pub use server::{CALLS_IN_FLIGHT_MAX, CONNECTIONS_MAX, Dispatch, Reply, decode, encode, serve};
pub use status::{Code, Error};
