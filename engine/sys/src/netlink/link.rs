//! Links: bridges, veth pairs, up, master, rename, remove.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::message::{Attributes, Message, read_u32};
use super::socket::{CREATE, EXCL, Socket, netlink_errno};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;
/// Between two looks at a link that is not yet operational.
const OPERATIONAL_POLL: Duration = Duration::from_micros(200);
/// Length of `ifinfomsg`.
const IFINFO_LEN: usize = 16;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// `bridge`, `veth`, …; empty for hardware and `lo`.
    pub kind: String,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// Able to pass packets (RFC 2863 `up`).
    pub operational: bool,
    /// Hardware address.
    pub address: Vec<u8>,
}

/// A bridge to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Hardware address: fixed, so that it does not follow its ports'.
    pub mac: [u8; 6],
    /// Bytes; the kernel's default when absent.
    pub mtu: Option<u32>,
}

/// A veth pair to create: one end here, its peer in another network namespace from its first moment.
#[derive(Debug, Clone, Copy)]
pub struct VethSpec<'a> {
    /// Name of the end in this namespace.
    pub name: &'a str,
    /// Index of the bridge that this end becomes a port of.
    pub master: u32,
    /// Where the peer is born.
    pub peer_netns: BorrowedFd<'a>,
    /// The peer's name.
    pub peer_name: &'a str,
    /// The peer's hardware address.
    pub peer_mac: [u8; 6],
    /// Bytes; the kernel's default when absent.
    pub mtu: Option<u32>,
}

/// How interfaces on one parent are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// By hardware address; the mode is `MACVLAN_MODE_*`.
    Macvlan {
        /// Hardware address.
        mac: [u8; 6],
        /// 1 private, 2 vepa, 4 bridge, 8 passthru.
        mode: u32,
    },
    /// By IP address; the mode is `IPVLAN_MODE_*`.
    Ipvlan {
        /// 0 l2, 1 l3, 2 l3s.
        mode: u16,
    },
}

/// An interface on a parent of this namespace, born in another network namespace.
#[derive(Debug, Clone, Copy)]
pub struct ChildSpec<'a> {
    /// Index of the parent.
    pub parent: u32,
    /// Where it is born.
    pub netns: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a str,
    /// What it is.
    pub kind: ChildKind,
    /// Bytes; the parent's when absent.
    pub mtu: Option<u32>,
}

fn ifinfo(family: u8, index: u32, flags: u32, change: u32) -> [u8; IFINFO_LEN] {
    let mut header = [0_u8; IFINFO_LEN];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Creates a bridge, down.
///
/// # Errors
/// `EEXIST` when the name is taken.
pub fn create_bridge(socket: &mut Socket, spec: &BridgeSpec<'_>) -> io::Result<()> {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0, 0, 0));
    message.text(IFLA_IFNAME, spec.name).attr(IFLA_ADDRESS, &spec.mac);
    if let Some(mtu) = spec.mtu {
        message.u32_ne(IFLA_MTU, mtu);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.text(IFLA_INFO_KIND, "bridge");
    });
    socket.request(&message)
}

/// Creates a veth pair in one message: this end up and a port of its bridge, the peer down in its namespace.
/// Moving the peer afterwards would cost 25 times as much.
///
/// # Errors
/// `EEXIST` when a name is taken in its namespace.
pub fn create_veth(socket: &mut Socket, spec: &VethSpec<'_>) -> io::Result<()> {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0, IFF_UP, IFF_UP));
    message.text(IFLA_IFNAME, spec.name).u32_ne(IFLA_MASTER, spec.master);
    if let Some(mtu) = spec.mtu {
        message.u32_ne(IFLA_MTU, mtu);
    }
    message.nest(IFLA_LINKINFO, |m| {
        m.text(IFLA_INFO_KIND, "veth");
        m.nest(IFLA_INFO_DATA, |m| {
            m.nest_raw(VETH_INFO_PEER, |m| {
                // A peer cannot be up before it is paired: whoever enters its namespace sets it up.
                m.raw(&ifinfo(0, 0, 0, 0));
                m.text(IFLA_IFNAME, spec.peer_name).attr(IFLA_ADDRESS, &spec.peer_mac);
                if let Some(mtu) = spec.mtu {
                    m.u32_ne(IFLA_MTU, mtu);
                }
                m.attr(IFLA_NET_NS_FD, &spec.peer_netns.as_raw_fd().to_ne_bytes());
            });
        });
    });
    socket.request(&message)
}

/// Creates a macvlan or ipvlan interface, down.
///
/// # Errors
/// `EOPNOTSUPP` when the kernel has no such links, `EBUSY` when the parent is used otherwise.
pub fn create_child(socket: &mut Socket, spec: &ChildSpec<'_>) -> io::Result<()> {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0, 0, 0));
    message.text(IFLA_IFNAME, spec.name).u32_ne(IFLA_LINK, spec.parent);
    message.attr(IFLA_NET_NS_FD, &spec.netns.as_raw_fd().to_ne_bytes());
    if let Some(mtu) = spec.mtu {
        message.u32_ne(IFLA_MTU, mtu);
    }
    if let ChildKind::Macvlan { mac, .. } = spec.kind {
        message.attr(IFLA_ADDRESS, &mac);
    }
    message.nest(IFLA_LINKINFO, |m| match spec.kind {
        ChildKind::Macvlan { mode, .. } => {
            m.text(IFLA_INFO_KIND, "macvlan");
            m.nest(IFLA_INFO_DATA, |m| {
                m.u32_ne(IFLA_MACVLAN_MODE, mode);
            });
        }
        ChildKind::Ipvlan { mode } => {
            m.text(IFLA_INFO_KIND, "ipvlan");
            m.nest(IFLA_INFO_DATA, |m| {
                m.attr(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
            });
        }
    });
    socket.request(&message)
}

/// Sets a link up.
///
/// # Errors
/// `ENODEV` when there is no such link.
pub fn set_link_up(socket: &mut Socket, index: u32) -> io::Result<()> {
    socket.request(&Message::new(RTM_SETLINK, 0, &ifinfo(0, index, IFF_UP, IFF_UP)))
}

/// Makes a link a port of the bridge `master`.
///
/// # Errors
/// `ENODEV` when there is no such link or bridge.
pub fn set_link_master(socket: &mut Socket, index: u32, master: u32) -> io::Result<()> {
    let mut message = Message::new(RTM_SETLINK, 0, &ifinfo(0, index, 0, 0));
    message.u32_ne(IFLA_MASTER, master);
    socket.request(&message)
}

/// What a bridge port may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgePortFlag {
    /// It exchanges frames with the bridge itself, never with another isolated port.
    Isolated,
    /// A frame may leave by the port that it came in by.
    Hairpin,
}

/// Sets a flag of a bridge port.
///
/// # Errors
/// When the link is not a bridge port.
pub fn set_bridge_port_flag(socket: &mut Socket, index: u32, flag: BridgePortFlag) -> io::Result<()> {
    let mut message = Message::new(RTM_SETLINK, 0, &ifinfo(AF_BRIDGE, index, 0, 0));
    let attribute = match flag {
        BridgePortFlag::Isolated => IFLA_BRPORT_ISOLATED,
        BridgePortFlag::Hairpin => IFLA_BRPORT_MODE,
    };
    message.nest(IFLA_PROTINFO, |m| {
        m.attr(attribute, &[1]);
    });
    socket.request(&message)
}

/// Renames a link; it must be down on older kernels.
///
/// # Errors
/// `EEXIST` when the name is taken, `EBUSY` when an older kernel wants it down.
pub fn rename_link(socket: &mut Socket, index: u32, name: &str) -> io::Result<()> {
    let mut message = Message::new(RTM_SETLINK, 0, &ifinfo(0, index, 0, 0));
    message.text(IFLA_IFNAME, name);
    socket.request(&message)
}

/// Removes a link by name; answers whether it was there. A veth's peer goes with it.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_link(socket: &mut Socket, name: &str) -> io::Result<bool> {
    let mut message = Message::new(RTM_DELLINK, 0, &ifinfo(0, 0, 0, 0));
    message.text(IFLA_IFNAME, name);
    match socket.request(&message) {
        Ok(()) => Ok(true),
        Err(error) if netlink_errno(&error) == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The link called `name`, if there is one.
///
/// # Errors
/// When the kernel refuses.
pub fn find_link(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    let mut message = Message::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0, 0));
    message.text(IFLA_IFNAME, name);
    match socket.get(&message, RTM_NEWLINK, parse_link) {
        Ok(link) => Ok(Some(link)),
        Err(error) if netlink_errno(&error) == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until the link called `name` passes packets, at most for `limit`; answers whether it does.
///
/// A link that was just set up drops what is sent until the kernel's link watch has run, and an address question that
/// is lost is asked again after a second only. Newer kernels (6.8) run the watch when they are asked for the link.
///
/// # Errors
/// When the kernel refuses.
pub fn wait_operational(socket: &mut Socket, name: &str, limit: Duration) -> io::Result<bool> {
    let begin = Instant::now();
    loop {
        match find_link(socket, name)? {
            Some(link) if link.operational => return Ok(true),
            None => return Ok(false),
            Some(_) if begin.elapsed() >= limit => return Ok(false),
            Some(_) => std::thread::sleep(OPERATIONAL_POLL),
        }
    }
}

/// All links of the namespace.
///
/// # Errors
/// When the kernel refuses.
pub fn list_links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    socket.dump(&Message::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0, 0)), |answer| {
        if answer.kind == RTM_NEWLINK {
            links.push(parse_link(answer.payload)?);
        }
        Ok(())
    })?;
    Ok(links)
}

fn parse_link(payload: &[u8]) -> io::Result<Link> {
    let attributes = Attributes::after(payload, IFINFO_LEN);
    let info = Attributes::after(attributes.find(IFLA_LINKINFO).unwrap_or_default(), 0);
    Ok(Link {
        index: read_u32(payload, 4)?,
        up: read_u32(payload, 8)? & IFF_UP != 0,
        operational: attributes.find(IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
        name: attributes.find_text(IFLA_IFNAME).unwrap_or_default(),
        kind: info.find_text(IFLA_INFO_KIND).unwrap_or_default(),
        master: attributes.find_u32(IFLA_MASTER),
        address: attributes.find(IFLA_ADDRESS).unwrap_or_default().to_vec(),
    })
}
