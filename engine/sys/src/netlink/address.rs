//! Addresses of links.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::message::{Attributes, Message, read_u32};
use super::socket::{Answer, CREATE, EXCL, Socket, invalid_data, netlink_errno};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// No duplicate address detection: the engine gave the address, and it must be usable at once.
const IFA_F_NODAD: u8 = 0x02;
/// Not usable yet.
const IFA_F_TENTATIVE: u8 = 0x40;
/// Between two looks at an address that is not usable yet.
const USABLE_POLL: Duration = Duration::from_micros(200);
/// Length of `ifaddrmsg`.
const IFADDR_LEN: usize = 8;

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 2 } else { 10 }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn parse_ip(bytes: &[u8]) -> io::Result<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(IpAddr::from(v6))
    } else {
        Err(invalid_data("netlink address is neither 4 nor 16 bytes"))
    }
}

/// Puts an address on a link; one that is there already is no error.
///
/// # Errors
/// `ENODEV` when there is no such link.
pub fn add_address(socket: &mut Socket, address: &Address) -> io::Result<()> {
    let mut header = [0_u8; IFADDR_LEN];
    header[0] = family(address.ip);
    header[1] = address.prefix;
    header[2] = if address.ip.is_ipv6() { IFA_F_NODAD } else { 0 };
    header[4..8].copy_from_slice(&address.link.to_ne_bytes());
    let mut message = Message::new(RTM_NEWADDR, CREATE | EXCL, &header);
    message.attr(IFA_LOCAL, &octets(address.ip)).attr(IFA_ADDRESS, &octets(address.ip));
    if let IpAddr::V4(ip) = address.ip
        && address.prefix < 31
    {
        let broadcast = ip.to_bits() | (u32::MAX >> address.prefix);
        message.attr(IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    match socket.request(&message) {
        Err(error) if netlink_errno(&error) == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Waits until `ip` may be used, at most for `limit`; answers whether it may. The kernel makes an IPv6 address usable in
/// its own time even when nobody is asked for an objection; until then packets leave with another source.
///
/// # Errors
/// When the kernel refuses.
pub fn wait_usable(socket: &mut Socket, ip: IpAddr, limit: Duration) -> io::Result<bool> {
    let begin = Instant::now();
    loop {
        let mut usable = false;
        let mut header = [0_u8; IFADDR_LEN];
        header[0] = family(ip);
        socket.dump(&Message::new(RTM_GETADDR, 0, &header), |answer| {
            if let Some((address, flags)) = parse_address(&answer)? {
                usable |= address.ip == ip && flags & IFA_F_TENTATIVE == 0;
            }
            Ok(())
        })?;
        if usable || begin.elapsed() >= limit {
            return Ok(usable);
        }
        std::thread::sleep(USABLE_POLL);
    }
}

/// All addresses of the namespace.
///
/// # Errors
/// When the kernel refuses.
pub fn list_addresses(socket: &mut Socket) -> io::Result<Vec<Address>> {
    let mut found = Vec::new();
    socket.dump(&Message::new(RTM_GETADDR, 0, &[0; IFADDR_LEN]), |answer| {
        found.extend(parse_address(&answer)?.map(|(address, _)| address));
        Ok(())
    })?;
    Ok(found)
}

/// An address and the first eight of its flags.
fn parse_address(answer: &Answer<'_>) -> io::Result<Option<(Address, u8)>> {
    let attributes = Attributes::after(answer.payload, IFADDR_LEN);
    let bytes = attributes.find(IFA_LOCAL).or_else(|| attributes.find(IFA_ADDRESS));
    let (RTM_NEWADDR, &[_, prefix, flags, ..], Some(bytes)) = (answer.kind, answer.payload, bytes) else {
        return Ok(None);
    };
    Ok(Some((Address { link: read_u32(answer.payload, 4)?, ip: parse_ip(bytes)?, prefix }, flags)))
}
