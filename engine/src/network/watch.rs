//! Puts our table back when another program removes or changes it: a firewall that is reloaded often flushes all.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sys::nftables::Monitor;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};
use crate::network::networks::{Shared, blocking};

/// Pause after a repair: a program that removes the table in a loop does not take a whole CPU.
const REPAIR_PAUSE: Duration = Duration::from_millis(20);

/// Begins to watch; ends with the last handle of the networks.
///
/// # Errors
/// When the kernel gives no notifications of nftables.
pub(super) fn start(shared: &Arc<Shared>) -> Result<()> {
    let failed = |e: std::io::Error| Error::internal("watch nftables").with_source(e);
    let monitor = Monitor::open(&shared.config.table).map_err(failed)?;
    #[expect(deprecated, reason = "its successor is unsafe; a monitor's descriptor is its own until it is dropped")]
    let monitor = AsyncFd::with_interest(monitor, Interest::READABLE).map_err(failed)?;
    tokio::spawn(watch(monitor, Arc::downgrade(shared), shared.nft_port()));
    Ok(())
}

async fn watch(mut monitor: AsyncFd<Monitor>, shared: Weak<Shared>, own_port: u32) {
    loop {
        let changed = match monitor.readable_mut().await {
            Ok(mut ready) => ready.try_io(|fd| fd.get_mut().changed_by_others(own_port)),
            Err(error) => {
                tracing::error!(%error, "nftables is not watched any more");
                return;
            }
        };
        let Some(shared) = shared.upgrade() else { return };
        match changed {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => continue,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a notification of nftables cannot be read");
                tokio::time::sleep(REPAIR_PAUSE).await;
                continue;
            }
        }
        let table = shared.config.table.clone();
        match blocking(move || shared.apply_rules()).await {
            Ok(()) => tracing::warn!(table, "another program changed our nftables table: put it back"),
            Err(error) => tracing::error!(%error, table, "cannot put our nftables table back"),
        }
        tokio::time::sleep(REPAIR_PAUSE).await;
    }
}
