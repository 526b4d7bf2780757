//! Questions about names of elsewhere: asked of the sandbox's own or the host's name servers, in turn, with a deadline
//! for each and a number of questions at once for all.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::network::dns::cache::{Cache, Key};
use crate::network::dns::message::{Question, Transport};
use crate::network::dns::{ADDRESS, Forwarding, sockets};

/// The host's own servers, read again when the file changes.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// Servers that are tried for one question.
const SERVERS_MAX: usize = 3;
/// Rounds over the servers: a datagram may be lost.
const ROUNDS: usize = 2;
/// Time for one server to answer.
const ATTEMPT: Duration = Duration::from_millis(2_000);
/// Time for a question over all servers. Clients wait five seconds, and ask again.
const DEADLINE: Duration = Duration::from_secs(8);
/// Questions that are under way at once, over all sandboxes: each has a socket.
const UNDER_WAY_MAX: usize = 512;
/// Answers kept, over all sandboxes.
const CACHE_LEN_MAX: usize = 2048;
/// Longer answers are not kept.
const CACHED_BYTES_MAX: usize = 4096;
/// The longest datagram that a server may send.
const DATAGRAM_MAX: usize = 4096;

/// What all sandboxes share.
#[derive(Debug)]
pub(super) struct Forwarder {
    cache: Mutex<Cache>,
    under_way: Semaphore,
    host: Mutex<HostServers>,
}

#[derive(Debug, Default)]
struct HostServers {
    changed: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

/// Whom one sandbox asks.
#[derive(Debug)]
pub(super) struct Upstream {
    asked: Vec<SocketAddr>,
    /// The sandbox's namespace, where a server that was asked for listens on its own loopback.
    netns: Option<OwnedFd>,
}

impl Upstream {
    /// `netns` is kept only when a server is in it.
    ///
    /// # Errors
    /// When its descriptor cannot be copied.
    pub(super) fn new(forwarding: &Forwarding, netns: OwnedFd) -> Self {
        // Itself would be asked for ever.
        let asked: Vec<_> =
            forwarding.servers.iter().copied().filter(|server| server.ip() != IpAddr::V4(ADDRESS)).collect();
        let within = asked.iter().any(|server| server.ip().is_loopback());
        Self { asked, netns: Some(netns).filter(|_| within) }
    }
}

impl Default for Forwarder {
    fn default() -> Self {
        Self {
            cache: Mutex::new(Cache::new(CACHE_LEN_MAX)),
            under_way: Semaphore::new(UNDER_WAY_MAX),
            host: Mutex::default(),
        }
    }
}

impl Forwarder {
    /// Asks for a name of elsewhere; what comes back is always a packet for the client.
    pub(super) async fn ask(&self, upstream: &Upstream, question: &Question, transport: Transport) -> Vec<u8> {
        let servers = if upstream.asked.is_empty() { self.host_servers() } else { upstream.asked.clone() };
        let key: Key = (servers.clone(), question.key());
        if let Some(answer) = self.cache().get(&key, Instant::now()) {
            return question.pass_on(&answer, transport);
        }
        let Ok(_permit) = self.under_way.try_acquire() else { return question.code(ResponseCode::ServFail) };
        let asked = tokio::time::timeout(DEADLINE, ask_in_turn(upstream, &servers, question, transport)).await;
        let Ok(Some((answer, len))) = asked else { return question.code(ResponseCode::ServFail) };
        if len <= CACHED_BYTES_MAX {
            self.cache().put(key, &answer, Instant::now());
        }
        question.pass_on(&answer, transport)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host_servers(&self) -> Vec<SocketAddr> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::fs::metadata(RESOLV_CONF).and_then(|found| found.modified()).ok();
        if changed.is_none() || changed != host.changed {
            host.servers = servers_of(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
            host.changed = changed;
        }
        host.servers.clone()
    }
}

/// PURE. The name servers of a resolv.conf.
fn servers_of(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(|line| line.split_ascii_whitespace());
    let named = words.filter_map(|mut words| (words.next()? == "nameserver").then(|| words.next()).flatten());
    named.filter_map(|word| Some(SocketAddr::new(word.parse().ok()?, DNS_PORT))).collect()
}

/// The first answer that says something; else the last that says that a server cannot.
async fn ask_in_turn(
    upstream: &Upstream,
    servers: &[SocketAddr],
    question: &Question,
    transport: Transport,
) -> Option<(Message, usize)> {
    let mut last = None;
    let mut silent = BTreeSet::new();
    for round in 0..ROUNDS {
        for server in servers.iter().take(SERVERS_MAX) {
            // The second round is for those that said nothing.
            if round > 0 && !silent.contains(server) {
                continue;
            }
            match tokio::time::timeout(ATTEMPT, ask_one(upstream, *server, question, transport)).await {
                Ok(Ok((answer, len))) => {
                    let code = answer.metadata.response_code;
                    if matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                        return Some((answer, len));
                    }
                    last = Some((answer, len));
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server cannot be asked"),
                Err(_) => {
                    silent.insert(*server);
                }
            }
        }
    }
    last
}

async fn ask_one(
    upstream: &Upstream,
    server: SocketAddr,
    question: &Question,
    transport: Transport,
) -> io::Result<(Message, usize)> {
    let within = upstream.netns.as_ref().filter(|_| server.ip().is_loopback());
    let mut id = [0_u8; 2];
    getrandom::fill(&mut id).map_err(|e| io::Error::other(e.to_string()))?;
    let id = u16::from_be_bytes(id);
    let packet = question.packet(id).ok_or_else(|| io::Error::other("a question cannot be written"))?;
    if transport == Transport::Tcp && within.is_none() {
        return ask_stream(server, question, &packet, id).await;
    }
    let socket = match within {
        Some(netns) => {
            let netns = netns.try_clone()?;
            let opened = tokio::task::spawn_blocking(move || sockets::ask_from_within(netns.as_fd(), server)).await;
            UdpSocket::from_std(opened.map_err(io::Error::other)??)?
        }
        None => {
            // A port of its own for each question is half of what keeps a false answer out.
            let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u8; 16], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(server).await?;
            socket
        }
    };
    socket.send(&packet).await?;
    let mut buffer = vec![0_u8; DATAGRAM_MAX];
    loop {
        let len = socket.recv(&mut buffer).await?;
        // What is no answer to this question does not end the wait for one.
        if let Some(answer) = question.read_answer(&buffer[..len], id) {
            return Ok((answer, len));
        }
    }
}

async fn ask_stream(server: SocketAddr, question: &Question, packet: &[u8], id: u16) -> io::Result<(Message, usize)> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], packet].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0_u8; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    let read = question.read_answer(&answer, id);
    read.map(|read| (read, answer.len())).ok_or_else(|| io::Error::other("the answer is to another question"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_the_hosts_file() {
        let text =
            "# a comment\nnameserver 127.0.0.53\n nameserver\t::1\nnameserver\nnameserver fe80::1%eth0\nsearch x\n";
        assert_eq!(servers_of(text), ["127.0.0.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
