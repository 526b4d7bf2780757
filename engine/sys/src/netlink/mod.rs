//! Netlink by hand: links, addresses, routes and connection tracking, with bounds checked both ways.
//!
//! A request that the kernel refuses is an [`std::io::Error`] with the kernel's errno and, where it gives one, its
//! own sentence (extended acknowledgement). Sockets act in the network namespace of the thread that opened them:
//! [`netns::within`] opens one elsewhere.

mod address;
mod conntrack;
mod link;
mod message;
pub mod netns;
mod route;
mod shape;
mod socket;

pub use address::{Address, add_address, list_addresses, wait_usable};
pub use conntrack::flush_udp_port;
pub use link::{
    BridgePortFlag, BridgeSpec, ChildKind, ChildSpec, Link, VethSpec, create_bridge, create_child, create_veth,
    find_link, list_links, remove_link, rename_link, set_bridge_port_flag, set_link_master, set_link_up,
    wait_operational,
};
pub use message::{Attributes, Message};
pub use route::{Route, add_default_route, list_routes, remove_default_route, replace_default_route};
pub use shape::{Shape, set_shape};
pub(crate) use socket::{APPEND, CREATE};
pub use socket::{Answer, Protocol, Socket, netlink_errno};
