//! SPDY/3.1, as much of it as the kubelet's streams use: the server's side, with streams that only the client opens.

mod dictionary;
mod frame;
mod header_block;
mod session;

pub(super) use session::{NewStream, Session};

/// A breach of the protocol after which the connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);
