//! Reservations of host ports: a bound socket each, which tells a port that is taken and keeps it from others.
//!
//! The socket also serves the port where no rule can: connections of this host to `::1`, and those of the other address
//! family (see `proxy.rs`). Where a rule serves the port, it translates a connection before the socket is looked up.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::network::proxy;
use crate::network::spec::{PortMapping, Protocol};
use crate::network::view::PublishedPort;

/// Connections that wait to be accepted on one port.
const BACKLOG: i32 = 512;
/// The range that free ports are chosen from, and where the kernel says it.
const EPHEMERAL_PATH: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const EPHEMERAL_DEFAULT: (u16, u16) = (32_768, 60_999);

/// All reservations of this daemon; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    held: Arc<Mutex<Held>>,
    sessions: Arc<Semaphore>,
    serve: bool,
}

#[derive(Debug, Default)]
struct Held {
    /// The task that serves the port and owns its socket, or the bare socket.
    ports: BTreeMap<PublishedPort, Holder>,
    /// Where the search for a free port goes on.
    next_ephemeral: u16,
}

#[derive(Debug)]
enum Holder {
    Served(AbortHandle, watch::Sender<SocketAddr>),
    Bare(#[expect(dead_code, reason = "held for its destructor: the port is free when it is closed")] Option<OwnedFd>),
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Self::Served(task, _) = self {
            task.abort();
        }
    }
}

/// Sockets that are bound and not yet kept.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    sockets: Vec<(PublishedPort, Option<OwnedFd>)>,
}

impl Reserved {
    /// What is reserved.
    pub(super) fn ports(&self) -> Vec<PublishedPort> {
        self.sockets.iter().map(|(port, _)| port.clone()).collect()
    }
}

impl Ports {
    /// With at most `sessions_max` connections through the proxy; `serve` says whether there is one.
    pub(super) fn new(sessions_max: usize, serve: bool) -> Self {
        Self { held: Arc::default(), sessions: Arc::new(Semaphore::new(sessions_max)), serve }
    }

    /// Binds a socket for every mapping, all or none.
    ///
    /// # Errors
    /// `AlreadyExists` naming the port that is taken, `InvalidArgument` for a mapping that makes no sense.
    pub(super) fn reserve(&self, mappings: &[PortMapping], default_host_ip: Option<IpAddr>) -> Result<Reserved> {
        let mut reserved = Reserved::default();
        for mapping in mappings {
            let hosts = host_addresses(mapping.host_ip.or(default_host_ip));
            let sockets = self.reserve_one(mapping, &hosts, &reserved)?;
            reserved.sockets.extend(sockets);
        }
        Ok(reserved)
    }

    /// Binds the socket of a port that was published before a restart.
    ///
    /// # Errors
    /// When another program has it by now.
    pub(super) fn reserve_again(&self, port: &PublishedPort) -> Result<Reserved> {
        let socket = bind(port.host_ip, port.host_port, port.protocol).map_err(|e| taken_by_other(port, e))?;
        Ok(Reserved { sockets: vec![(port.clone(), socket)] })
    }

    /// Keeps the reservations and serves them towards the sandbox.
    pub(super) fn keep(&self, reserved: Reserved, target_v4: Option<Ipv4Addr>, target_v6: Option<Ipv6Addr>) {
        for (port, socket) in reserved.sockets {
            let holder = match (socket, target(&port, target_v4, target_v6)) {
                (Some(socket), Some(target)) if self.serve && port.protocol != Protocol::Sctp => {
                    let (sender, target) = watch::channel(target);
                    let task = proxy::serve(socket, port.protocol, target, Arc::clone(&self.sessions));
                    Holder::Served(tokio::spawn(task).abort_handle(), sender)
                }
                (socket, _) => Holder::Bare(socket),
            };
            self.lock().ports.insert(port, holder);
        }
    }

    /// Leads connections that come from now on to other addresses of the sandbox; those that are open go on.
    pub(super) fn retarget(&self, ports: &[PublishedPort], v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
        let held = self.lock();
        for port in ports {
            if let (Some(Holder::Served(_, sender)), Some(target)) = (held.ports.get(port), target(port, v4, v6)) {
                sender.send_replace(target);
            }
        }
    }

    /// Gives ports back; those that are not held are passed over.
    pub(super) fn release(&self, ports: &[PublishedPort]) {
        let mut held = self.lock();
        for port in ports {
            held.ports.remove(port);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One port number that is free on all of `hosts`.
    fn reserve_one(
        &self,
        mapping: &PortMapping,
        hosts: &[IpAddr],
        so_far: &Reserved,
    ) -> Result<Vec<(PublishedPort, Option<OwnedFd>)>> {
        if mapping.container_port == 0 {
            return Err(Error::invalid("invalid port mapping: the container's port is 0"));
        }
        let (low, high) = match (mapping.host_port, mapping.host_port_end) {
            (0, _) => ephemeral_range(),
            (low, 0) => (low, low),
            (low, high) => (low, high),
        };
        if low > high {
            return Err(Error::invalid(format!("invalid range of host ports {low}-{high}: it ends before it begins")));
        }
        let count = u32::from(high - low) + 1;
        let start = if mapping.host_port == 0 { self.next_ephemeral(low, high) } else { low };
        let mut refused = None;
        for step in 0..count {
            let number = u32::from(low) + (u32::from(start - low) + step) % count;
            let number = u16::try_from(number).unwrap_or(high);
            match self.bind_all(mapping, hosts, number, so_far) {
                Ok(sockets) => {
                    if mapping.host_port == 0 {
                        self.lock().next_ephemeral = number.checked_add(1).unwrap_or(low);
                    }
                    return Ok(sockets);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let refused = refused.unwrap_or_else(|| Error::internal("no port was tried"));
        Err(if count == 1 { refused } else { refused.context(format!("all ports of {low}-{high} are allocated")) })
    }

    fn next_ephemeral(&self, low: u16, high: u16) -> u16 {
        let next = self.lock().next_ephemeral;
        if (low..=high).contains(&next) { next } else { low }
    }

    fn bind_all(
        &self,
        mapping: &PortMapping,
        hosts: &[IpAddr],
        host_port: u16,
        so_far: &Reserved,
    ) -> Result<Vec<(PublishedPort, Option<OwnedFd>)>> {
        let mut sockets = Vec::with_capacity(hosts.len());
        for host_ip in hosts {
            let PortMapping { container_port, protocol, .. } = *mapping;
            let port = PublishedPort { container_port, protocol, host_ip: *host_ip, host_port };
            let clashes = |other: &PublishedPort| overlap(other, &port);
            if self.lock().ports.keys().any(clashes) || so_far.sockets.iter().any(|(other, _)| clashes(other)) {
                let at = SocketAddr::new(*host_ip, host_port);
                let message = format!("Bind for {at} failed: port is already allocated");
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            match bind(*host_ip, host_port, protocol) {
                Ok(socket) => sockets.push((port, socket)),
                // A host without IPv6 publishes on IPv4 alone, when the caller did not ask for an address.
                Err(error) if host_ip.is_ipv6() && hosts.len() > 1 && without_ipv6(&error) => {}
                Err(error) => return Err(taken_by_other(&port, error)),
            }
        }
        Ok(sockets)
    }
}

/// The address in the sandbox that a port leads to: of the host address's family, else of the other.
fn target(port: &PublishedPort, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<SocketAddr> {
    let (v4, v6) = (v4.map(IpAddr::V4), v6.map(IpAddr::V6));
    let ip = if port.host_ip.is_ipv4() { v4.or(v6) } else { v6.or(v4) };
    Some(SocketAddr::new(ip?, port.container_port))
}

/// Two ports that one socket each could not be bound to.
fn overlap(a: &PublishedPort, b: &PublishedPort) -> bool {
    let same_address = a.host_ip == b.host_ip
        || (a.host_ip.is_ipv4() == b.host_ip.is_ipv4() && (a.host_ip.is_unspecified() || b.host_ip.is_unspecified()));
    a.protocol == b.protocol && a.host_port == b.host_port && same_address
}

fn without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn taken_by_other(port: &PublishedPort, error: io::Error) -> Error {
    let at = SocketAddr::new(port.host_ip, port.host_port);
    let kind = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => ErrorKind::AlreadyExists,
        Some(libc::EADDRNOTAVAIL) => ErrorKind::InvalidArgument,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("failed to bind host port {at}/{}", port.protocol)).with_source(error)
}

fn host_addresses(asked: Option<IpAddr>) -> Vec<IpAddr> {
    asked.map_or_else(|| vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()], |ip| vec![ip])
}

fn ephemeral_range() -> (u16, u16) {
    let read = || {
        let text = std::fs::read_to_string(EPHEMERAL_PATH).ok()?;
        let (low, high) = text.trim().split_once(char::is_whitespace)?;
        Some((low.parse().ok()?, high.trim().parse().ok()?))
    };
    read().filter(|(low, high)| *low > 0 && low <= high).unwrap_or(EPHEMERAL_DEFAULT)
}

/// A bound socket, listening where the protocol has it. None for SCTP on a kernel without it: there is nothing that
/// could be taken.
fn bind(ip: IpAddr, port: u16, protocol: Protocol) -> io::Result<Option<OwnedFd>> {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match rustix::net::socket_with(family, kind, flags, Some(number)) {
        Err(rustix::io::Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        other => other?,
    };
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier sandbox that are still in TIME_WAIT do not hold the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_ip: &str, host_port: u16, host_port_end: u16) -> PortMapping {
        let host_ip = Some(host_ip.parse().unwrap());
        PortMapping { host_ip, host_port, host_port_end, container_port: 80, protocol: Protocol::Tcp }
    }

    #[tokio::test]
    async fn a_port_is_given_once_and_again_after_its_release() {
        let ports = Ports::new(8, true);
        let first = ports.reserve(&[mapping("127.0.0.1", 0, 0)], None).unwrap();
        let taken = first.ports()[0].clone();
        ports.keep(first, Some(Ipv4Addr::LOCALHOST), None);
        let again = [mapping("127.0.0.1", taken.host_port, taken.host_port)];
        let error = ports.reserve(&again, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let expected = format!("Bind for 127.0.0.1:{} failed: port is already allocated", taken.host_port);
        assert_eq!(error.message(), expected);
        ports.release(std::slice::from_ref(&taken));
        tokio::task::yield_now().await;
        assert_eq!(ports.reserve(&again, None).unwrap().ports(), [taken]);
    }

    #[test]
    fn a_port_of_another_program_is_seen() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = other.local_addr().unwrap().port();
        let ports = Ports::new(8, true);
        let error = ports.reserve(&[mapping("127.0.0.1", number, number)], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.message().contains(&format!("127.0.0.1:{number}/tcp")), "{error}");
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = other.local_addr().unwrap().port();
        let ports = Ports::new(8, true);
        let end = number.saturating_add(50);
        let found = ports.reserve(&[mapping("127.0.0.1", number, end)], None).unwrap().ports()[0].host_port;
        assert!(found > number && found <= end, "{found}");
    }

    #[test]
    fn two_mappings_of_one_request_may_not_meet() {
        let ports = Ports::new(8, true);
        let free = ports.reserve(&[mapping("127.0.0.1", 0, 0)], None).unwrap().ports()[0].host_port;
        let twice = [mapping("127.0.0.1", free, free), mapping("127.0.0.1", free, free)];
        assert_eq!(ports.reserve(&twice, None).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(ports.reserve(&[mapping("127.0.0.1", 9, 8)], None).is_err());
    }
}
