//! Routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{octets, parse_ip};
use super::message::{Attributes, Message};
use super::socket::{CREATE, EXCL, REPLACE, Socket, netlink_errno};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u32 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
/// Default routes of one family that a sandbox may have made for itself beside ours.
const DEFAULT_ROUTES_MAX: usize = 64;
/// Length of `rtmsg`.
const RTMSG_LEN: usize = 12;

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Network address.
    pub destination: IpAddr,
    /// Bits of it; 0 is the default route.
    pub prefix: u8,
    /// Index of the link that it leaves by.
    pub link: Option<u32>,
}

/// Adds the default route of the gateway's family through `gateway` on `link`; one that is there is no error.
///
/// # Errors
/// `ENETUNREACH` when the gateway is not on the link.
pub fn add_default_route(socket: &mut Socket, link: u32, gateway: IpAddr) -> io::Result<()> {
    let mut message = Message::new(RTM_NEWROUTE, CREATE | EXCL, &default_route_header(gateway.is_ipv6()));
    message.attr(RTA_GATEWAY, &octets(gateway)).u32_ne(RTA_OIF, link);
    match socket.request(&message) {
        Err(error) if netlink_errno(&error) == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Puts the default route of the gateway's family through `gateway` on `link`, in place of those that are there.
///
/// # Errors
/// `ENETUNREACH` when the gateway is not on the link.
pub fn replace_default_route(socket: &mut Socket, link: u32, gateway: IpAddr) -> io::Result<()> {
    let ipv6 = gateway.is_ipv6();
    let mut message = Message::new(RTM_NEWROUTE, CREATE | REPLACE, &default_route_header(ipv6));
    message.attr(RTA_GATEWAY, &octets(gateway)).u32_ne(RTA_OIF, link);
    socket.request(&message)
}

/// Takes the default routes of a family away; none is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_default_route(socket: &mut Socket, ipv6: bool) -> io::Result<()> {
    for _ in 0..DEFAULT_ROUTES_MAX {
        let message = Message::new(RTM_DELROUTE, 0, &default_route_header(ipv6));
        match socket.request(&message) {
            Err(error) if netlink_errno(&error) == Some(libc::ESRCH) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn default_route_header(ipv6: bool) -> [u8; RTMSG_LEN] {
    let mut header = [0_u8; RTMSG_LEN];
    header[0] = if ipv6 { 10 } else { 2 };
    header[4] = 254;
    header[5] = RTPROT_STATIC;
    header[7] = RTN_UNICAST;
    header
}

/// The unicast routes of the main table, both families.
///
/// # Errors
/// When the kernel refuses.
pub fn list_routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    socket.dump(&Message::new(RTM_GETROUTE, 0, &[0; RTMSG_LEN]), |answer| {
        if answer.kind == RTM_NEWROUTE
            && let Some(route) = parse_route(answer.payload)?
        {
            routes.push(route);
        }
        Ok(())
    })?;
    Ok(routes)
}

fn parse_route(payload: &[u8]) -> io::Result<Option<Route>> {
    let &[family, prefix, _, _, table, _, _, kind, ..] = payload else { return Ok(None) };
    let attributes = Attributes::after(payload, RTMSG_LEN);
    let table = attributes.find_u32(RTA_TABLE).unwrap_or(u32::from(table));
    if table != RT_TABLE_MAIN || kind != RTN_UNICAST {
        return Ok(None);
    }
    let any = if family == 2 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let destination = attributes.find(RTA_DST).map_or(Ok(any), parse_ip)?;
    Ok(Some(Route { destination, prefix, link: attributes.find_u32(RTA_OIF) }))
}
