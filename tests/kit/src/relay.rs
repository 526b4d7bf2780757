//! A relay in a world's network that stands before the registry: it counts what passes, slows it down, and breaks.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::registry;
use crate::world::World;

/// Where it listens, in the world.
pub const ADDRESS: &str = "127.0.0.1:5001";
const PIECE_BYTES: usize = 16 << 10;

#[derive(Debug)]
struct Line {
    passed: AtomicU64,
    /// Connections break once this many bytes have passed in all.
    broken_after: AtomicU64,
    /// Pause after each piece, microseconds.
    pause_us: AtomicU64,
    closed: AtomicBool,
}

/// A running relay; it ends with the value.
#[derive(Debug)]
pub struct Relay {
    line: Arc<Line>,
}

impl Relay {
    /// Starts it before the registry of `world`.
    ///
    /// # Panics
    /// When it cannot enter the world or listen.
    #[track_caller]
    pub fn start(world: &World) -> Self {
        let line = Arc::new(Line {
            passed: AtomicU64::new(0),
            broken_after: AtomicU64::new(u64::MAX),
            pause_us: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let namespace = File::open(format!("/proc/{}/ns/net", world.init())).expect("the world's network");
        let (sender, ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&line);
        // Threads that this one starts are in the world's network, too.
        std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind)).expect("setns");
            let listener = TcpListener::bind(ADDRESS).expect("listen");
            listener.set_nonblocking(true).expect("nonblocking");
            sender.send(()).expect("the test waits");
            accept(&listener, &shared);
        });
        ready.recv_timeout(Duration::from_secs(5)).expect("the relay listens");
        Self { line }
    }

    /// The same image, through the relay.
    pub fn reference(&self, reference: &str) -> String {
        reference.replacen(registry::ADDRESS, ADDRESS, 1)
    }

    /// Bytes that came from the registry so far.
    pub fn passed(&self) -> u64 {
        self.line.passed.load(Ordering::SeqCst)
    }

    /// Breaks every connection, also new ones, once `bytes` more have passed.
    pub fn break_after(&self, bytes: u64) {
        self.line.broken_after.store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// Connections pass again.
    pub fn mend(&self) {
        self.line.broken_after.store(u64::MAX, Ordering::SeqCst);
    }

    /// At most about this many bytes a second for each connection.
    pub fn slow_down(&self, bytes_per_second: u64) {
        let pause = PIECE_BYTES as u64 * 1_000_000 / bytes_per_second.max(1);
        self.line.pause_us.store(pause, Ordering::SeqCst);
    }

    /// As fast as it goes.
    pub fn full_speed(&self) {
        self.line.pause_us.store(0, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.closed.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, line: &Arc<Line>) {
    while !line.closed.load(Ordering::SeqCst) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let line = Arc::clone(line);
        std::thread::spawn(move || {
            client.set_nonblocking(false).expect("blocking");
            let Ok(server) = TcpStream::connect(registry::ADDRESS) else { return };
            let (from_client, to_server) = (client.try_clone().expect("dup"), server.try_clone().expect("dup"));
            std::thread::spawn(move || upwards(from_client, to_server));
            downwards(server, client, &line);
        });
    }
}

fn upwards(mut client: TcpStream, mut server: TcpStream) {
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
}

fn downwards(mut server: TcpStream, mut client: TcpStream, line: &Line) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let whole = line.passed.load(Ordering::SeqCst) < line.broken_after.load(Ordering::SeqCst);
        let read = if whole && !line.closed.load(Ordering::SeqCst) { server.read(&mut piece) } else { Ok(0) };
        match read {
            Ok(count @ 1..) if client.write_all(&piece[..count]).is_ok() => {
                line.passed.fetch_add(count as u64, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(line.pause_us.load(Ordering::SeqCst)));
            }
            _ => break,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
