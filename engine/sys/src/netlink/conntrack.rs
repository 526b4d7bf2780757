//! Connection tracking: forgetting the UDP flows of a published port.
//!
//! A UDP flow has no end that the kernel could see: packets that come in faster than the entry's timeout would follow
//! the old translation for ever, to an address that is somebody else's by now.

use std::io;
use std::net::IpAddr;

use super::address::parse_ip;
use super::message::{Attributes, Message};
use super::socket::{Socket, netlink_errno};

const GET: u16 = 1 << 8 | 1;
const NEW: u16 = 1 << 8;
const DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPPROTO_UDP: u8 = 17;
/// Length of `nfgenmsg`.
const NFGEN_LEN: usize = 4;

/// Forgets every UDP flow to host port `port` that is translated to `target`; answers how many.
///
/// # Errors
/// When the kernel has no connection tracking over netlink, or refuses.
pub fn flush_udp_port(socket: &mut Socket, target: IpAddr, port: u16) -> io::Result<usize> {
    let family = if target.is_ipv4() { 2 } else { 10 };
    let mut tuples = Vec::new();
    socket.dump(&Message::new(GET, 0, &[family, 0, 0, 0]), |answer| {
        if answer.kind == NEW
            && let Some(original) = matching_tuple(answer.payload, target, port)
        {
            tuples.push(original.to_vec());
        }
        Ok(())
    })?;
    for tuple in &tuples {
        let mut message = Message::new(DELETE, 0, &[family, 0, 0, 0]);
        message.nest(CTA_TUPLE_ORIG, |m| {
            m.raw(tuple);
        });
        match socket.request(&message) {
            // It has ended meanwhile.
            Err(error) if netlink_errno(&error) == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(tuples.len())
}

/// The original tuple of a flow, if it is UDP to `port` and answered by `target`.
fn matching_tuple(payload: &[u8], target: IpAddr, port: u16) -> Option<&[u8]> {
    let flow = Attributes::after(payload, NFGEN_LEN);
    let original = flow.find(CTA_TUPLE_ORIG)?;
    let protocol = Attributes::after(Attributes::after(original, 0).find(CTA_TUPLE_PROTO)?, 0);
    let is_udp = protocol.find(CTA_PROTO_NUM)? == [IPPROTO_UDP];
    let to_port = protocol.find(CTA_PROTO_DST_PORT)? == port.to_be_bytes();
    let reply = Attributes::after(flow.find(CTA_TUPLE_REPLY)?, 0);
    let source = Attributes::after(reply.find(CTA_TUPLE_IP)?, 0);
    let source = source.find(CTA_IP_V4_SRC).or_else(|| source.find(CTA_IP_V6_SRC))?;
    (is_udp && to_port && parse_ip(source).ok()? == target).then_some(original)
}
