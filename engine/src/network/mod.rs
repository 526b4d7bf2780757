//! Networks: where a sandbox's traffic goes.
//!
//! ```text
//! spec.rs      what is asked: NetworkSpec, EndpointSpec, PortMapping
//! view.rs      what is answered: NetworkView, Attachment, EndpointView, PublishedPort
//! record.rs    what is stored
//! ipam.rs      PURE: which subnet, which address
//! firewall.rs  PURE: which rules; rendered as text for people and tests, encoded for the kernel by `sys::nftables`
//! bridge.rs    links, addresses and routes of one endpoint
//! gateway.rs   which endpoint has the default routes and the published ports; dns/ resolves names
//! parent.rs    macvlan and ipvlan: interfaces on one of the host's own
//! connect.rs   a sandbox into its networks and out again; create.rs the same for networks themselves
//! ports.rs     reservations of host ports; proxy.rs serves what rules cannot of them
//! netns.rs     prepared network namespaces
//! cni/         pods in a network that a cluster's plugins make
//! watch.rs     puts our table back when another program removes or changes it
//! ```
//!
//! Invariants: an address has its row before it is on a link; every change of rules is one atomic batch; no process
//! exists per port; nothing is bind-mounted; only the table named in [`NetworkConfig`] is ever touched. Networks never
//! change by themselves: one lock orders the changes, and readers use published snapshots.

pub(crate) mod bandwidth;
mod bridge;
pub(crate) mod cni;
mod config;
mod connect;
mod create;
mod dns;
mod firewall;
mod gateway;
mod ipam;
mod netns;
mod networks;
mod of_pods;
mod parent;
mod ports;
mod proxy;
mod record;
mod spec;
mod view;
mod watch;

pub use config::{AddressPool, NetworkConfig};
pub use dns::Forwarding;
pub use netns::Netns;
pub use networks::Networks;
pub(crate) use of_pods::DEFAULT_NETWORK;
pub use record::{EndpointRecord, NetworkRecord};
pub use spec::{EndpointSpec, IpamPool, NetworkSpec, PortMapping, Protocol};
pub use view::{Attachment, DnsView, EndpointView, NetworkView, PublishedPort};
