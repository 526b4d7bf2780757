//! The process of one shim, held by descriptor: what is ended here is that shim and never the next one of its sandbox.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use sys::pidfd::PidFd;

use crate::readiness::readable;

/// How long a shim may take to end after it was asked, and again after it was killed.
const END_WAIT: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;

/// One shim's process.
#[derive(Debug, Clone)]
pub(crate) struct ShimProcess {
    pid: i32,
    pidfd: Arc<PidFd>,
}

impl ShimProcess {
    /// The process that has this number now.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, pidfd: Arc::new(PidFd::open(pid)?) })
    }

    /// Its number, which may be another's once it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Returns when it has ended.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let fd = readable(self.pidfd.as_fd().try_clone_to_owned()?)?;
        fd.readable().await.map(drop)
    }

    /// Collects its exit status, if it is a child of ours that has ended.
    pub(crate) fn reap(&self) -> io::Result<()> {
        self.pidfd.reap().map(drop)
    }

    /// Waits for the end of a shim that was asked to end; one that does not is killed.
    pub(crate) async fn end(&self) {
        if !self.ends_in_time().await {
            tracing::warn!(pid = self.pid, "a shim that was asked to end did not, and is killed");
            self.kill().await;
        }
    }

    /// Kills it and waits for its end.
    pub(crate) async fn kill(&self) {
        if let Err(error) = self.pidfd.send_signal(SIGKILL) {
            tracing::debug!(pid = self.pid, %error, "a shim to be killed has ended");
        }
        if !self.ends_in_time().await {
            tracing::error!(pid = self.pid, "a shim survives SIGKILL");
        }
    }

    async fn ends_in_time(&self) -> bool {
        match tokio::time::timeout(END_WAIT, self.ended()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(pid = self.pid, %error, "the end of a shim cannot be watched");
                self.pidfd.has_ended().unwrap_or(false)
            }
            Err(_elapsed) => false,
        }
    }
}
