//! Prepared network namespaces: making one costs more than a start should wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use crate::error::{Error, ErrorKind, Result};

/// Time before another try after the kernel refused a namespace, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// A network namespace, held by its descriptor only: it ends with the last holder.
#[derive(Debug)]
pub struct Netns(OwnedFd);

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.0
    }
}

/// Keeps a number of namespaces ready.
#[derive(Debug, Clone)]
pub(super) struct NetnsPool {
    ready: Option<Arc<Mutex<mpsc::Receiver<Netns>>>>,
}

impl NetnsPool {
    /// Starts to fill a pool of `size`; with 0 each is made when it is asked for.
    pub(super) fn start(size: usize) -> Self {
        if size == 0 {
            return Self { ready: None };
        }
        // One more is held by the task that waits for a place.
        let (filled, ready) = mpsc::channel(size);
        tokio::spawn(async move {
            while let Ok(place) = filled.reserve().await {
                match make().await {
                    Ok(netns) => place.send(netns),
                    Err(error) => {
                        drop(place);
                        tracing::warn!(%error, "cannot prepare a network namespace");
                        tokio::time::sleep(std::time::Duration::from_millis(RETRY_MS)).await;
                    }
                }
            }
        });
        Self { ready: Some(Arc::new(Mutex::new(ready))) }
    }

    /// One that is ready, else a new one.
    pub(super) async fn take(&self) -> Result<Netns> {
        if let Some(pool) = &self.ready
            && let Ok(netns) = pool.lock().await.try_recv()
        {
            return Ok(netns);
        }
        make().await
    }
}

async fn make() -> Result<Netns> {
    let made = tokio::task::spawn_blocking(sys::netlink::netns::create).await;
    let made = made.map_err(|e| Error::internal("make a network namespace").with_source(e))?;
    made.map(Netns).map_err(|e| {
        let full = e.raw_os_error() == Some(libc::ENOSPC);
        let kind = if full { ErrorKind::ResourceExhausted } else { ErrorKind::Internal };
        Error::new(kind, "make a network namespace").with_source(e)
    })
}
