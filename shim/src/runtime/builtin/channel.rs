//! The socket between the shim and a process that it is making.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::handshake::{FromChild, MESSAGE_BYTES_MAX, ToChild};
use crate::runtime::Failure;

/// The shim's end.
#[derive(Debug)]
pub(super) struct ParentEnd {
    socket: AsyncFd<OwnedFd>,
    /// Received, but not yet the reader's turn.
    early: RefCell<VecDeque<Received>>,
}

/// A message with the descriptor that came along.
pub(super) type Received = (FromChild, Option<OwnedFd>);

/// The child's end; blocking, close-on-exec.
#[derive(Debug)]
pub(super) struct ChildEnd {
    socket: OwnedFd,
    /// `Go` came while something else was waited for.
    went: Cell<bool>,
}

/// Makes both ends.
pub(super) fn pair() -> io::Result<(ParentEnd, ChildEnd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let ours = ParentEnd { socket: super::raw::watch(ours, Interest::READABLE)?, early: RefCell::default() };
    Ok((ours, ChildEnd { socket: theirs, went: Cell::new(false) }))
}

impl ParentEnd {
    /// Messages to a child are one byte and never fill the socket.
    pub(super) fn send(&self, message: ToChild) -> io::Result<()> {
        rustix::net::send(self.socket.get_ref(), &[message as u8], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message with the descriptor that came along; `None` when the child's end is closed.
    pub(super) async fn receive(&self) -> io::Result<Option<Received>> {
        let early = self.early.borrow_mut().pop_front();
        if early.is_some() {
            return Ok(early);
        }
        self.receive_new().await
    }

    /// Keeps messages for [`ParentEnd::receive`].
    pub(super) fn keep(&self, messages: impl IntoIterator<Item = Received>) {
        self.early.borrow_mut().extend(messages);
    }

    async fn receive_new(&self) -> io::Result<Option<Received>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|fd| receive_now(fd.get_ref().as_fd())) {
                // Said once when the child ended with something unread; its last words are still to be received.
                Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

fn receive_now(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let mut bytes = [0_u8; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(fd, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = FromChild::decode(&bytes[..received.bytes])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown message from the container's init"))?;
    Ok(Some((message, passed)))
}

/// The descriptor that comes with the next message on a blocking socket.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut bytes = [0_u8; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    passed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor came along"))
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl ChildEnd {
    pub(super) fn as_raw(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Sends a message; when the shim is gone nobody is left to care.
    pub(super) fn send(&self, message: &FromChild) {
        let _ = rustix::net::send(&self.socket, &message.encode(), SendFlags::NOSIGNAL);
    }

    /// Sends a message with a descriptor.
    pub(super) fn send_with(&self, message: &FromChild, fd: BorrowedFd<'_>) -> io::Result<()> {
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&message.encode())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for this message. Anything else, or the end of the shim, is the end of this process too.
    pub(super) fn expect(&self, wanted: ToChild) -> Result<(), Failure> {
        if wanted == ToChild::Go && self.went.get() {
            return Ok(());
        }
        let mut byte = [0_u8; 1];
        loop {
            let message = match rustix::io::read(&self.socket, &mut byte) {
                Ok(1) => ToChild::from_byte(byte[0]),
                Ok(_) => None,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(Failure::io("handshake", "", &e.into())),
            };
            match message {
                Some(message) if message == wanted => return Ok(()),
                // The shim does not wait with it for the hooks.
                Some(ToChild::Go) => self.went.set(true),
                _ => return Err(Failure::new("handshake", "handshake: the shim is gone")),
            }
        }
    }

    /// Tells the shim why this process ends.
    pub(super) fn fail(&self, failure: &Failure) {
        let Failure { step, errno, message } = failure.clone();
        self.send(&FromChild::Failed { step, errno, message });
    }
}
