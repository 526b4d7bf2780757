//! One task for each sandbox: it reads questions, answers those about its networks from memory at once, and has the
//! others forwarded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::network::dns::forward::{Forwarder, Upstream};
use crate::network::dns::message::{Question, Transport, Unreadable};
use crate::network::dns::names::{self, Holder, Place};
use crate::network::dns::{Forwarding, sockets};
use crate::network::networks::{Shared, blocking};
use crate::network::view::NetworkView;

/// Questions of one sandbox that are forwarded at once.
const FORWARDED_MAX: usize = 128;
/// Connections of one sandbox at once.
const STREAMS_MAX: usize = 32;
/// A connection that says nothing for so long is closed.
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// The longest question over UDP.
const QUESTION_MAX: usize = 4096;
/// Datagrams that are read before others have a turn.
const BURST_MAX: usize = 32;
/// Pause after a socket failed: descriptors or memory may be used up.
const PAUSE: Duration = Duration::from_millis(100);

/// All resolvers of this daemon.
#[derive(Debug, Default)]
pub(in crate::network) struct Resolvers {
    serving: Mutex<HashMap<SandboxId, JoinHandle<()>>>,
    forwarder: Arc<Forwarder>,
}

impl Resolvers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, JoinHandle<()>>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a sandbox's resolver. Its sockets are closed when this returns: they would keep the namespace.
    pub(in crate::network) async fn stop(&self, sandbox: &SandboxId) {
        let serving = self.lock().remove(sandbox);
        if let Some(task) = serving {
            task.abort();
            // It was aborted: that is no failure.
            let _ = task.await;
        }
    }
}

impl Drop for Resolvers {
    fn drop(&mut self) {
        for task in self.lock().values() {
            task.abort();
        }
    }
}

/// Begins to serve names to a sandbox that is in a network with names, and ends it for one that is not.
///
/// # Errors
/// When the sockets cannot be opened in its namespace.
pub(in crate::network) async fn serve_names(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    netns: BorrowedFd<'_>,
    forwarding: Forwarding,
) -> Result<()> {
    let wanted = !places_of(&shared.read(), sandbox).is_empty();
    if !wanted {
        shared.resolvers.stop(sandbox).await;
        return Ok(());
    }
    if shared.resolvers.lock().get(sandbox).is_some_and(|task| !task.is_finished()) {
        return Ok(());
    }
    let (netns, id) = (netns.try_clone_to_owned()?, sandbox.clone());
    let (opened, netns) = blocking(move || {
        let opened = sockets::open(netns.as_fd(), &id);
        let opened = opened.map_err(|e| Error::internal("open the resolver of the sandbox").with_source(e))?;
        Ok::<_, Error>((opened, netns))
    })
    .await?;
    let resolver = Resolver::new(shared, sandbox, &forwarding, netns);
    let (udp, tcp) = (UdpSocket::from_std(opened.udp)?, TcpListener::from_std(opened.tcp)?);
    let task = tokio::spawn(async move { Arc::new(resolver).run(Arc::new(udp), tcp).await });
    if let Some(older) = shared.resolvers.lock().insert(sandbox.clone(), task) {
        older.abort();
    }
    Ok(())
}

/// The networks with names that a sandbox is in, in the order of its endpoints.
fn places_of(
    state: &crate::network::networks::State,
    sandbox: &SandboxId,
) -> Vec<(Arc<crate::network::view::EndpointView>, Arc<NetworkView>)> {
    let connected = state.sandboxes.get(sandbox).map_or(&[][..], Vec::as_slice);
    let named = connected.iter().filter_map(|c| Some((c, state.networks.get(&c.record.network_id)?)));
    let named = named.filter(|(_, network)| network.record.has_names());
    named.map(|(connected, network)| (Arc::clone(&connected.view), Arc::clone(&network.view))).collect()
}

struct Resolver {
    /// Weak: a resolver does not keep a daemon's networks in memory.
    shared: Weak<Shared>,
    sandbox: SandboxId,
    upstream: Upstream,
    ndots_set: bool,
    forwarder: Arc<Forwarder>,
    forwarded: Semaphore,
    turn: AtomicUsize,
}

/// What is done with a packet.
enum Step {
    Reply(Vec<u8>),
    Forward(Box<Question>),
    Drop,
}

impl Resolver {
    fn new(shared: &Arc<Shared>, sandbox: &SandboxId, forwarding: &Forwarding, netns: OwnedFd) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            sandbox: sandbox.clone(),
            upstream: Upstream::new(forwarding, netns),
            ndots_set: forwarding.ndots_set,
            forwarder: Arc::clone(&shared.resolvers.forwarder),
            forwarded: Semaphore::new(FORWARDED_MAX),
            turn: AtomicUsize::new(0),
        }
    }

    async fn run(self: Arc<Self>, udp: Arc<UdpSocket>, tcp: TcpListener) {
        // They end with this task: dropping the sets aborts them.
        let (mut questions, mut streams) = (JoinSet::new(), JoinSet::new());
        loop {
            while questions.try_join_next().is_some() {}
            while streams.try_join_next().is_some() {}
            tokio::select! {
                ready = udp.readable() => match ready {
                    Ok(()) => self.read_burst(&udp, &mut questions),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                accepted = tcp.accept(), if streams.len() < STREAMS_MAX => match accepted {
                    Ok((stream, _)) => drop(streams.spawn(Arc::clone(&self).serve_stream(stream))),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                _ = streams.join_next(), if streams.len() >= STREAMS_MAX => {}
            }
        }
    }

    fn read_burst(self: &Arc<Self>, udp: &Arc<UdpSocket>, questions: &mut JoinSet<()>) {
        // The buffer lives only while there is something to read: an idle sandbox costs no memory.
        let mut buffer = vec![0_u8; QUESTION_MAX];
        for _ in 0..BURST_MAX {
            let Ok((len, client)) = udp.try_recv_from(&mut buffer) else { return };
            match self.consider(&buffer[..len], Transport::Udp) {
                // A client that does not read loses its answer, as on any network.
                Step::Reply(reply) => drop(udp.try_send_to(&reply, client)),
                Step::Forward(question) if questions.len() < FORWARDED_MAX => {
                    questions.spawn(Arc::clone(self).forward_datagram(question, Arc::clone(udp), client));
                }
                Step::Forward(question) => {
                    drop(udp.try_send_to(&question.code(ResponseCode::ServFail), client));
                }
                Step::Drop => {}
            }
        }
    }

    async fn forward_datagram(self: Arc<Self>, question: Box<Question>, udp: Arc<UdpSocket>, client: SocketAddr) {
        let reply = self.forwarder.ask(&self.upstream, &question, Transport::Udp).await;
        // As above.
        let _ = udp.send_to(&reply, client).await;
    }

    async fn serve_stream(self: Arc<Self>, mut stream: TcpStream) {
        loop {
            let exchange = async {
                let len = stream.read_u16().await?;
                let mut packet = vec![0_u8; usize::from(len)];
                stream.read_exact(&mut packet).await?;
                let reply = match self.consider(&packet, Transport::Tcp) {
                    Step::Reply(reply) => reply,
                    Step::Drop => return Ok(false),
                    Step::Forward(question) => match self.forwarded.try_acquire() {
                        Ok(_permit) => self.forwarder.ask(&self.upstream, &question, Transport::Tcp).await,
                        Err(_) => question.code(ResponseCode::ServFail),
                    },
                };
                let len = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
                stream.write_all(&[&len.to_be_bytes()[..], &reply].concat()).await?;
                Ok::<_, std::io::Error>(true)
            };
            match tokio::time::timeout(STREAM_IDLE, exchange).await {
                Ok(Ok(true)) => {}
                // The client has gone, or says nothing that can be answered.
                _ => return,
            }
        }
    }

    /// From memory: never waits.
    fn consider(&self, packet: &[u8], transport: Transport) -> Step {
        let question = match Question::read(packet) {
            Ok(question) => question,
            Err(Unreadable(Some(reply))) => return Step::Reply(reply),
            Err(Unreadable(None)) => return Step::Drop,
        };
        let Some(shared) = self.shared.upgrade() else { return Step::Drop };
        let (owned, external) = {
            let state = shared.read();
            let connected = state.sandboxes.get(&self.sandbox).map_or(&[][..], Vec::as_slice);
            let leads_out = |c: &crate::network::networks::Connected| {
                state.networks.get(&c.record.network_id).is_some_and(|network| !network.record.internal)
            };
            (places_of(&state, &self.sandbox), connected.iter().any(leads_out))
        };
        let places: Vec<Place<'_>> = owned.iter().map(|(own, network)| Place { own, network }).collect();
        if let Some(reply) = self.known(&question, &places, transport) {
            return Step::Reply(reply);
        }
        let single = question.is_single_label() && matches!(question.kind(), RecordType::A | RecordType::AAAA);
        if self.ndots_set && single {
            // The client goes on with its search list.
            return Step::Reply(question.answer(&[], transport));
        }
        if external { Step::Forward(Box::new(question)) } else { Step::Reply(question.code(ResponseCode::NXDomain)) }
    }

    /// What the sandbox's networks know.
    fn known(&self, question: &Question, places: &[Place<'_>], transport: Transport) -> Option<Vec<u8>> {
        if let Some(ip) = question.pointer() {
            return match names::holder(places, ip) {
                Holder::Named(name) => Some(question.answer_name(&name, transport)),
                Holder::Nobody => Some(question.code(ResponseCode::NXDomain)),
                Holder::Elsewhere => None,
            };
        }
        let mut addresses = names::addresses(places, &question.name())?;
        // Those who share a name are named first in turn.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(turn);
        Some(question.answer(&addresses, transport))
    }
}
