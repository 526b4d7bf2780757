//! Names inside of networks: a resolver at 127.0.0.11 in every sandbox that is in a network with names.
//!
//! ```text
//! names.rs    PURE: what a sandbox's networks know of a name or an address
//! message.rs  PURE: packets to questions, and answers to packets
//! cache.rs    PURE: answers of others, for as long as they hold
//! sockets.rs  the two sockets in the sandbox's network namespace, and the rule that leads port 53 to them
//! forward.rs  everything else is asked of the sandbox's or the host's name servers
//! resolver.rs one task for each sandbox
//! ```
//!
//! The sockets are the daemon's: while it is away nobody answers, and its next start opens them again. They have a high
//! port and a rule in the sandbox's namespace leads port 53 of 127.0.0.11 there, so that a container may itself serve
//! port 53 on all its addresses. Who is only in internal networks has nothing forwarded.

mod cache;
mod forward;
mod message;
mod names;
mod resolver;
mod sockets;

use std::net::{Ipv4Addr, SocketAddr};

pub(super) use resolver::{Resolvers, serve_names};

/// Where a sandbox's resolver is found, in its own network namespace.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Whom a sandbox's resolver asks for names that are not of its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// As asked for the sandbox; none is the host's own servers. Loopback addresses are the sandbox's own.
    pub servers: Vec<SocketAddr>,
    /// The user chose how many dots make a name that is complete: single labels are then not forwarded.
    pub ndots_set: bool,
}
