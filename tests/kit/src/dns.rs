//! A name server in a world, which knows one address for every name and remembers what it was asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::world::World;

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    socket: Arc<UdpSocket>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Its address, one of the world's own.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The address of every name.
    pub const ANSWER: &'static str = "192.0.2.53";

    /// Starts it in `world`.
    ///
    /// # Panics
    /// When the world's network cannot be entered or the port is taken.
    #[track_caller]
    pub fn start(world: &World) -> Self {
        world.sh(&format!("ip addr add {}/32 dev lo", Self::ADDRESS));
        let path = format!("/proc/{}/ns/net", world.init());
        // Only a thread of its own may enter the namespace: the socket stays in it.
        let opened = std::thread::spawn(move || {
            let netns = std::fs::File::open(path).expect("the world's network namespace");
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(kind)).expect("setns");
            UdpSocket::bind((Self::ADDRESS, 53)).expect("port 53 of the world")
        });
        let socket = Arc::new(opened.join().expect("the thread in the namespace"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        let asked = Arc::default();
        let (weak, noted) = (Arc::downgrade(&socket), Arc::clone(&asked));
        std::thread::spawn(move || {
            while let Some(socket) = weak.upgrade() {
                answer_one(&socket, &noted);
            }
        });
        Self { socket, asked }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        Self::ADDRESS
    }

    /// The names it was asked for, in order.
    pub fn questions(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread ends with the last reference but its own; a datagram of ours would only wake it earlier.
        let _ = self.socket.set_read_timeout(Some(Duration::from_millis(1)));
    }
}

fn answer_one(socket: &UdpSocket, asked: &Mutex<Vec<String>>) {
    let mut buffer = [0_u8; 1500];
    let Ok((len, client)) = socket.recv_from(&mut buffer) else { return };
    let Some((name, end)) = question(&buffer[..len]) else { return };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    let is_a = buffer[end - 4..end] == [0, 1, 0, 1];
    // The number, "an answer, recursion", one question, one answer if it is for an IPv4 address.
    let mut reply = vec![buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
    reply.extend_from_slice(&buffer[12..end]);
    if is_a {
        // The name above, A, IN, 60 seconds, four bytes.
        reply.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend_from_slice(&Server::ANSWER.parse::<Ipv4Addr>().expect("constant").octets());
    }
    let _ = socket.send_to(&reply, client);
}

/// The name in a question, and where the question ends.
fn question(packet: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            return packet.get(at..at + 4).map(|_| (labels.join("."), at + 4));
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + len)?).into_owned());
        at += len;
    }
}
