//! The byte stream under HTTP, shared so that an endpoint can take it over.
//!
//! Clients that hijack without an Upgrade header expect `200 OK` and then bare bytes in both directions. hyper has no
//! such answer, so the endpoint takes the stream from under it: from then on hyper's side sleeps, and the endpoint
//! writes the answer itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

/// A stream in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Shared {
    io: Box<dyn Duplex>,
    taken: bool,
    /// Watches for the peer's hang-up; it holds a descriptor, so it must end with the stream.
    _watch: Option<AbortOnDropHandle<()>>,
}

/// The way to take the stream over.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Mutex<Shared>>);

/// The side that HTTP runs on.
pub(crate) struct HttpSide(Tap);

/// The stream after it was taken over.
pub(crate) struct TakenStream(Tap);

impl Tap {
    /// Puts a stream under a tap.
    pub(crate) fn new(io: Box<dyn Duplex>, watch: Option<AbortOnDropHandle<()>>) -> (Self, HttpSide) {
        let tap = Self(Arc::new(Mutex::new(Shared { io, taken: false, _watch: watch })));
        (tap.clone(), HttpSide(tap))
    }
    /// Takes the stream over. What HTTP has already read of the request's body stays read.
    pub(crate) fn take(&self) -> TakenStream {
        self.lock().taken = true;
        TakenStream(self.clone())
    }
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for HttpSide {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.lock();
        if shared.taken { Poll::Pending } else { Pin::new(&mut shared.io).poll_read(cx, buf) }
    }
}

impl AsyncWrite for HttpSide {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.0.lock();
        if shared.taken { Poll::Pending } else { Pin::new(&mut shared.io).poll_write(cx, data) }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.lock();
        if shared.taken { Poll::Ready(Ok(())) } else { Pin::new(&mut shared.io).poll_flush(cx) }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.lock();
        if shared.taken { Poll::Ready(Ok(())) } else { Pin::new(&mut shared.io).poll_shutdown(cx) }
    }
}

impl AsyncRead for TakenStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for TakenStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().io).poll_write(cx, data)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().io).poll_shutdown(cx)
    }
}
