//! What /proc tells of a container's processes and no cgroup counts.

use std::path::Path;

use crate::container::ContainerHandle;
use crate::error::{Error, Result};

/// Processes whose descriptors are counted.
const PROCESSES_MAX: usize = 1024;
/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;

/// Figures of all processes of a container together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Processes.
    pub processes: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Of them sockets.
    pub sockets: u64,
    /// Soft limit on open files of the first process; `None` = unlimited or not known.
    pub open_files_soft: Option<u64>,
}

/// Reads them now, off the async threads.
pub(crate) async fn read(container: &ContainerHandle) -> Result<ProcessFigures> {
    let first = container.view().pid;
    let pids = container.cell.shim()?.pids(container.id()).await?;
    let counted = tokio::task::spawn_blocking(move || count(first, &pids)).await;
    counted.map_err(|e| Error::internal("count descriptors").with_source(e))
}

fn count(first: u32, pids: &[u32]) -> ProcessFigures {
    let limits = std::fs::read_to_string(format!("/proc/{first}/limits")).unwrap_or_default();
    let mut figures = ProcessFigures {
        processes: pids.len() as u64,
        open_files_soft: open_files_soft(&limits),
        ..ProcessFigures::default()
    };
    for pid in pids.iter().take(PROCESSES_MAX) {
        // A process may have ended meanwhile.
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.flatten().take(DESCRIPTORS_MAX) {
            figures.descriptors += 1;
            figures.sockets += u64::from(is_socket(&entry.path()));
        }
    }
    figures
}

fn is_socket(link: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str().as_bytes().starts_with(b"socket:"))
}

/// PURE. Of /proc/PID/limits.
fn open_files_soft(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let _socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let own = std::process::id();
        let figures = count(own, &[own]);
        assert!(figures.sockets >= 1 && figures.descriptors > figures.sockets, "{figures:?}");
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_soft(limits), Some(1024));
        assert_eq!(open_files_soft("Max open files  unlimited unlimited files"), None);
    }
}
