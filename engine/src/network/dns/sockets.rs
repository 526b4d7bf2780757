//! The resolver's sockets in a sandbox's network namespace, and the rule that leads port 53 to them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;

use sys::netlink::netns;
use sys::nftables::{
    Chain, ChainHook, DataType, Element, Family, Field, Hook, HookKind, Nftables, Rule, Set, Statement, Table, Value,
};

use crate::id::SandboxId;
use crate::network::dns::ADDRESS;
use crate::network::spec::Protocol;

/// Our table in the sandbox's namespace.
const TABLE: &str = "gantry-dns";
/// The port that clients ask.
const DNS_PORT: u16 = 53;
/// Ports that the resolver's sockets take: a sandbox's is always the same, so that clients which keep a socket open find
/// the resolver of a daemon that has started again.
const PORTS: std::ops::Range<u16> = 49_152..65_000;

/// Both sockets, not blocking.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Opens the sockets and puts the rule in force, in place of one of before. Blocks.
///
/// # Errors
/// When the namespace cannot be entered or the kernel refuses.
pub(super) fn open(netns: BorrowedFd<'_>, sandbox: &SandboxId) -> io::Result<Sockets> {
    let wished = wished_port(sandbox);
    netns::within(netns, || {
        let at = |port| SocketAddr::new(IpAddr::V4(ADDRESS), port);
        // Somebody in the sandbox may have the port: any other will do.
        let udp = UdpSocket::bind(at(wished)).or_else(|_| UdpSocket::bind(at(0)))?;
        let tcp = TcpListener::bind(at(wished)).or_else(|_| TcpListener::bind(at(0)))?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let table = table(udp.local_addr()?.port(), tcp.local_addr()?.port());
        Nftables::open(TABLE, false)?.replace(&table)?;
        Ok(Sockets { udp, tcp })
    })
}

/// A socket to ask a server with that only the sandbox itself reaches. Blocks.
///
/// # Errors
/// When the namespace cannot be entered or the kernel refuses.
pub(super) fn ask_from_within(netns: BorrowedFd<'_>, server: SocketAddr) -> io::Result<UdpSocket> {
    netns::within(netns, || {
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u8; 16], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
}

/// PURE. The port for a sandbox, by its id.
fn wished_port(sandbox: &SandboxId) -> u16 {
    let number = sandbox.as_str().get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default();
    let offset = number % u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(offset).unwrap_or_default()
}

fn table(udp: u16, tcp: u16) -> Table {
    const KEY: &[DataType] = &[DataType::Ipv4Addr, DataType::InetProto, DataType::InetService];
    const DATA: &[DataType] = &[DataType::Ipv4Addr, DataType::InetService];
    const FIELDS: &[Field] = &[Field::Ip4Daddr, Field::L4Proto, Field::ThDport];
    let here = Value::Addr(IpAddr::V4(ADDRESS));
    let element = |protocol: Protocol, port: u16| Element {
        key: vec![here.clone(), Value::Protocol(protocol.number()), Value::Port(DNS_PORT)],
        data: vec![here.clone(), Value::Port(port)],
    };
    let mut elements = vec![element(Protocol::Udp, udp), element(Protocol::Tcp, tcp)];
    elements.sort();
    let lead = Statement::DnatByMap { family: Family::V4, fields: FIELDS, map: "resolver" };
    Table {
        name: TABLE.to_owned(),
        sets: vec![Set { name: "resolver", key: KEY, data: DATA, elements }],
        chains: vec![Chain {
            name: "output",
            hook: Some(ChainHook { kind: HookKind::Nat, hook: Hook::Output, priority: -100 }),
            rules: vec![Rule(vec![Statement::Family(Family::V4), lead])],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_keeps_its_port() {
        let id = SandboxId::random();
        assert_eq!(wished_port(&id), wished_port(&id));
        assert!(PORTS.contains(&wished_port(&id)));
    }
}
