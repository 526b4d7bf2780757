//! A netlink socket: requests with their acknowledgements, dumps, batches and multicast groups.
#![expect(unsafe_code, reason = "setsockopt(2) of SOL_NETLINK has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::message::{Attributes, Message, Received, read_u32, split};

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 4;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(crate) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Refusals come with the kernel's own words.
const NETLINK_EXT_ACK: libc::c_int = 11;
/// Acknowledgements do not repeat the whole request.
const NETLINK_CAP_ACK: libc::c_int = 10;

/// Receive buffer for one datagram: the kernel fills dumps in pages of at most 32 KiB.
const DATAGRAM_MAX: usize = 64 * 1024;
/// Messages of one dump; far above what a node has, to bound a loop that the kernel feeds.
const DUMP_MESSAGES_MAX: usize = 1 << 20;
/// Send buffer: a whole rule set with many thousand elements is one datagram.
const SEND_BUFFER_BYTES: usize = 16 << 20;

/// Which part of the kernel a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nftables, connection tracking.
    Netfilter,
}

/// A message of the kernel, as the callback of a dump or a monitor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Message type.
    pub kind: u16,
    /// Port of the socket whose request caused it; 0 for the kernel itself.
    pub port: u32,
    /// Family header and attributes.
    pub payload: &'a [u8],
}

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    port: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace, member of the multicast groups in the mask `groups`.
    ///
    /// # Errors
    /// When the kernel has no such protocol or the process may not use it.
    pub fn open(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let number = match protocol {
            // NETLINK_ROUTE is 0: the family's default.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let mut flags = SocketFlags::CLOEXEC;
        flags.set(SocketFlags::NONBLOCK, groups != 0);
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, number)?;
        set_option(&fd, NETLINK_EXT_ACK)?;
        set_option(&fd, NETLINK_CAP_ACK)?;
        // Without the privilege the default stands; only very large batches need more.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER_BYTES);
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        let name = SocketAddrNetlink::try_from(rustix::net::getsockname(&fd)?)?;
        Ok(Self { fd, seq: 0, port: name.pid() })
    }

    /// This socket's port: notifications of its own changes carry it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends one request and waits for the acknowledgement.
    ///
    /// # Errors
    /// The kernel's netlink_errno, with its own words when it gives some.
    pub fn request(&mut self, message: &Message) -> io::Result<()> {
        self.request_all(std::slice::from_ref(message))
    }

    /// Sends several requests in one datagram. They are carried out in order; a refused one does not stop those after
    /// it, and the first refusal is returned.
    ///
    /// # Errors
    /// The first refusal.
    pub fn request_all(&mut self, messages: &[Message]) -> io::Result<()> {
        let mut batch = Vec::with_capacity(1024);
        for message in messages {
            self.seq = self.seq.wrapping_add(1);
            message.append_to(&mut batch, self.seq, REQUEST | ACK)?;
        }
        self.send(&batch)?;
        let (last, mut open, mut refused) = (self.seq, messages.len(), None);
        while open > 0 {
            self.receive(|m| {
                if m.kind == NLMSG_ERROR && last.wrapping_sub(m.seq) < messages.len() as u32 {
                    open -= 1;
                    if let Err(error) = acknowledgement(&m)
                        && refused.is_none()
                    {
                        refused = Some(error);
                    }
                }
                Ok(())
            })?;
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends a dump request and calls `each` for every message of the answer.
    ///
    /// # Errors
    /// The kernel's refusal, or what `each` returns.
    pub fn dump(&mut self, message: &Message, mut each: impl FnMut(Answer<'_>) -> io::Result<()>) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let mut batch = Vec::new();
        message.append_to(&mut batch, self.seq, REQUEST | DUMP)?;
        self.send(&batch)?;
        let (seq, mut done, mut result) = (self.seq, false, Ok(()));
        for _ in 0..DUMP_MESSAGES_MAX {
            self.receive(|m| {
                match m.kind {
                    _ if m.seq != seq => {}
                    NLMSG_DONE => done = true,
                    NLMSG_ERROR => {
                        done = true;
                        if result.is_ok() {
                            result = acknowledgement(&m);
                        }
                    }
                    // After an error the rest is still read, so that the next request does not meet it.
                    _ if result.is_ok() => result = each(Answer { kind: m.kind, port: m.pid, payload: m.payload }),
                    _ => {}
                }
                Ok(())
            })?;
            if done {
                return result;
            }
        }
        Err(invalid_data("netlink dump does not end"))
    }

    /// Sends one request whose answer is one message of type `kind` (a GET by name) and gives its payload to `read`.
    ///
    /// # Errors
    /// The kernel's refusal (`ENODEV`, `ENOENT`), or what `read` returns.
    pub fn get<T>(&mut self, message: &Message, kind: u16, read: impl FnOnce(&[u8]) -> io::Result<T>) -> io::Result<T> {
        self.seq = self.seq.wrapping_add(1);
        let mut batch = Vec::new();
        message.append_to(&mut batch, self.seq, REQUEST)?;
        self.send(&batch)?;
        let (seq, mut answer) = (self.seq, None);
        while answer.is_none() {
            self.receive(|m| {
                if m.seq == seq && m.kind == kind {
                    answer = Some(Ok(m.payload.to_vec()));
                } else if m.seq == seq && m.kind == NLMSG_ERROR {
                    let refused = acknowledgement(&m).err();
                    answer = Some(Err(refused.unwrap_or_else(|| invalid_data("netlink request has no answer"))));
                }
                Ok(())
            })?;
        }
        read(&answer.unwrap_or_else(|| Err(invalid_data("netlink request has no answer")))?)
    }

    /// Sends messages as one nfnetlink transaction between `begin` and `end`: all are carried out or none.
    ///
    /// # Errors
    /// The first refusal; nothing is changed then.
    pub(crate) fn transaction(&mut self, begin: &Message, messages: &[Message], end: &Message) -> io::Result<()> {
        let mut batch = Vec::with_capacity(4096);
        self.seq = self.seq.wrapping_add(1);
        let first = self.seq;
        begin.append_to(&mut batch, first, REQUEST)?;
        for (index, message) in messages.iter().enumerate() {
            self.seq = self.seq.wrapping_add(1);
            // One acknowledgement is enough: refusals come without being asked for.
            let ack = if index + 1 == messages.len() { ACK } else { 0 };
            message.append_to(&mut batch, self.seq, REQUEST | ack)?;
        }
        let last = self.seq;
        self.seq = self.seq.wrapping_add(1);
        end.append_to(&mut batch, self.seq, REQUEST)?;
        self.send(&batch)?;
        let (mut refused, mut done) = (None, false);
        // Every answer is queued before the send returns; the last message's, or a refusal of the commit, ends it.
        while !done {
            self.receive(|m| {
                if m.kind == NLMSG_ERROR {
                    let result = acknowledgement(&m);
                    done |= m.seq == last || (m.seq == first && result.is_err());
                    if refused.is_none() {
                        refused = result.err();
                    }
                }
                Ok(())
            })?;
        }
        self.drain();
        refused.map_or(Ok(()), Err)
    }

    /// Reads what a multicast group has sent; `WouldBlock` when there is nothing, `ENOBUFS` when something was lost.
    ///
    /// # Errors
    /// As above, or what `each` returns.
    pub fn notifications(&mut self, mut each: impl FnMut(Answer<'_>) -> io::Result<()>) -> io::Result<()> {
        self.receive(|m| each(Answer { kind: m.kind, port: m.pid, payload: m.payload }))
    }

    fn send(&self, batch: &[u8]) -> io::Result<()> {
        let sent = rustix::net::sendto(&self.fd, batch, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        if sent == batch.len() { Ok(()) } else { Err(invalid_data("netlink request was cut")) }
    }

    /// Throws away what is left of earlier answers.
    fn drain(&self) {
        let mut buffer = [0_u8; 256];
        while rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }

    fn receive(&self, each: impl FnMut(Received<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0_u8; DATAGRAM_MAX];
        let len = loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((_, len)) => break len,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let datagram = buffer.get(..len).ok_or_else(|| invalid_data("netlink datagram was cut"))?;
        split(datagram, each)
    }
}

fn set_option(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` is a valid int for the whole call, `len` is its size, and the descriptor is open.
    let code = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), len) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The result that an `NLMSG_ERROR` message carries.
fn acknowledgement(message: &Received<'_>) -> io::Result<()> {
    let code = read_u32(message.payload, 0)?.cast_signed();
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    match extended_text(message) {
        Some(text) => Err(io::Error::new(error.kind(), Refusal { error, text })),
        None => Err(error),
    }
}

/// The kernel's own words about a refusal.
fn extended_text(message: &Received<'_>) -> Option<String> {
    if message.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request_len = if message.flags & NLM_F_CAPPED == 0 { read_u32(message.payload, 4).ok()? as usize } else { 16 };
    Attributes::after(message.payload, 4 + request_len).find_text(NLMSGERR_ATTR_MSG)
}

/// A refusal with the kernel's own words.
#[derive(Debug)]
struct Refusal {
    error: io::Error,
    text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text, self.error)
    }
}

impl std::error::Error for Refusal {}

/// The errno of a refusal, whether or not words came with it.
pub fn netlink_errno(error: &io::Error) -> Option<i32> {
    let worded = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    worded.map_or_else(|| error.raw_os_error(), |refusal| refusal.error.raw_os_error())
}

pub(crate) fn invalid_data(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
