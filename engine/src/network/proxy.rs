//! The part of published ports that rules cannot serve: this host's connections to `::1`, and a port of one address
//! family in front of a sandbox that has only the other. One task per port, no process. It also takes what reaches a
//! port while another program has removed the rules and they are not back yet.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::network::spec::Protocol;

/// Longest time for the sandbox to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A datagram session without traffic ends after this time, as the kernel's own do.
const UDP_IDLE: Duration = Duration::from_secs(90);
/// Datagrams of one client that wait to be sent on.
const UDP_QUEUE_MAX: usize = 64;
/// The longest datagram.
const UDP_DATAGRAM_MAX: usize = 65_535;
/// Pause after a failed accept: descriptors may be used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections that come from now on lead.
pub(super) type Target = watch::Receiver<SocketAddr>;

/// Serves a bound socket until the task is ended; logs why when it cannot.
pub(super) async fn serve(socket: OwnedFd, protocol: Protocol, target: Target, sessions: Arc<Semaphore>) {
    let first = *target.borrow();
    let served = match protocol {
        Protocol::Tcp => serve_tcp(socket, target, sessions).await,
        Protocol::Udp => serve_udp(socket, target, sessions).await,
        Protocol::Sctp => Ok(()),
    };
    if let Err(error) = served {
        tracing::warn!(%error, target = %first, "the proxy of a published port is not served");
    }
}

async fn serve_tcp(socket: OwnedFd, target: Target, sessions: Arc<Semaphore>) -> io::Result<()> {
    let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
    // Connections end with the port: dropping the set aborts them.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                // A port without a connection holds no place; this many wait for one at most.
                let Ok(permit) = Arc::clone(&sessions).acquire_owned().await else { return Ok(()) };
                while connections.try_join_next().is_some() {}
                let target = *target.borrow();
                connections.spawn(splice(client, target, permit));
            }
            Err(error) => {
                tracing::debug!(%error, "accept for a published port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn splice(mut client: TcpStream, target: SocketAddr, _permit: OwnedSemaphorePermit) {
    let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await else {
        // The client sees what it would have seen from the sandbox itself: its connection is reset.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

async fn serve_udp(socket: OwnedFd, target: Target, sessions: Arc<Semaphore>) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(std::net::UdpSocket::from(socket))?);
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        socket.readable().await?;
        while tasks.try_join_next().is_some() {}
        clients.retain(|_, queue| !queue.is_closed());
        // The buffer lives only while there is something to read: an idle port costs no memory.
        let mut buffer = vec![0_u8; UDP_DATAGRAM_MAX];
        // An error other than "nothing there" belongs to an earlier answer (ICMP): the socket goes on.
        let Ok((len, client)) = socket.try_recv_from(&mut buffer) else { continue };
        let datagram = buffer[..len].to_vec();
        if let Some(queue) = clients.get(&client) {
            // A full queue drops, as a network does.
            let _ = queue.try_send(datagram);
            continue;
        }
        let Ok(permit) = Arc::clone(&sessions).try_acquire_owned() else { continue };
        let (queue, datagrams) = mpsc::channel(UDP_QUEUE_MAX);
        let _ = queue.try_send(datagram);
        clients.insert(client, queue);
        let target = *target.borrow();
        tasks.spawn(udp_session(Arc::clone(&socket), client, target, datagrams, permit));
    }
}

async fn udp_session(
    front: Arc<UdpSocket>,
    client: SocketAddr,
    target: SocketAddr,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
    _permit: OwnedSemaphorePermit,
) {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let Ok(back) = UdpSocket::bind(any).await else { return };
    if back.connect(target).await.is_err() {
        return;
    }
    loop {
        let step = async {
            tokio::select! {
                datagram = datagrams.recv() => {
                    let Some(datagram) = datagram else { return false };
                    let _ = back.send(&datagram).await;
                }
                ready = back.readable() => {
                    let mut buffer = vec![0_u8; UDP_DATAGRAM_MAX];
                    // An error is the sandbox's refusal of an earlier datagram: the session goes on.
                    if ready.is_ok() && let Ok(len) = back.try_recv(&mut buffer) {
                        let _ = front.send_to(&buffer[..len], client).await;
                    }
                }
            }
            true
        };
        if !tokio::time::timeout(UDP_IDLE, step).await.unwrap_or(false) {
            return;
        }
    }
}
