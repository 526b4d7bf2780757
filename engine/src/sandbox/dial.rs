//! A connection to a port inside a sandbox, as its own processes would make it (port-forward).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::{TcpSocket, TcpStream};

use crate::error::{Error, ErrorKind, Result};
use crate::sandbox::SandboxPhase;
use crate::sandbox::handle::SandboxHandle;

/// Longest time for a process of the sandbox to accept; it listens on this machine's own loopback.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Tried in this order: what listens on "localhost" may have only one of the two.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Connects to `port` of the sandbox's loopback: 127.0.0.1, then ::1.
pub(crate) async fn dial(sandbox: &SandboxHandle, port: u16) -> Result<TcpStream> {
    let id = sandbox.id();
    let down = || Error::conflict(format!("sandbox {id} is not ready"));
    if sandbox.view().phase != SandboxPhase::Ready {
        return Err(down());
    }
    let netns = sandbox.cell.up().ok_or_else(down)?.held.network.clone();
    let mut first = None;
    for loopback in LOOPBACKS {
        match connect(&netns, SocketAddr::new(loopback, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => first = first.or(Some((loopback, error))),
        }
    }
    let (loopback, error) = first.unwrap_or_else(|| (LOOPBACKS[0], std::io::ErrorKind::Other.into()));
    let kind = match error.kind() {
        std::io::ErrorKind::TimedOut => ErrorKind::DeadlineExceeded,
        std::io::ErrorKind::ConnectionRefused => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Err(Error::new(kind, format!("connect to {loopback} port {port} in sandbox {id}")).with_source(error))
}

/// A socket belongs to the namespace it was made in: the connection itself is made from here.
async fn connect(netns: &str, address: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = if netns.is_empty() {
        new_socket(family)?
    } else {
        let path = PathBuf::from(netns);
        let made = tokio::task::spawn_blocking(move || {
            let netns = sys::namespace::open(&path)?;
            sys::netlink::netns::within(netns.as_fd(), || new_socket(family))
        });
        made.await.map_err(std::io::Error::other)??
    };
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let connected = tokio::time::timeout(CONNECT_MAX, socket.connect(address)).await;
    let stream = connected.map_err(|_elapsed| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn new_socket(family: AddressFamily) -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}
