//! Unix sockets at paths of any length: the address holds 107 bytes, ids alone are 64, so the last component is
//! reached through an open folder (`/proc/self/fd/N/name`).

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// `O_PATH | O_DIRECTORY | O_CLOEXEC` on Linux, all architectures that Rust supports except MIPS and PowerPC's
/// `O_DIRECTORY`; written out because this crate has no libc.
const O_PATH_DIRECTORY: i32 = 0o10_000_000 | O_DIRECTORY | 0o2_000_000;
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const O_DIRECTORY: i32 = 0o40_000;
#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
const O_DIRECTORY: i32 = 0o200_000;

/// A short path to the same socket; the file keeps the folder open while the path is in use.
fn short(path: &Path) -> io::Result<(File, PathBuf)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{}: not a socket path", path.display()));
    let name = path.file_name().ok_or_else(invalid)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = OpenOptions::new().read(true).custom_flags(O_PATH_DIRECTORY).open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, short))
}

/// Connects to the socket at `path`.
///
/// # Errors
/// What `connect(2)` says, with the path.
pub async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("connect {}: {e}", path.display()));
    let (_folder, short) = short(path).map_err(named)?;
    tokio::net::UnixStream::connect(short).await.map_err(named)
}

/// Listens at `path` with mode 0600, after removing what a dead listener left there.
///
/// # Errors
/// What `bind(2)` says, with the path.
pub fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("listen on {}: {e}", path.display()));
    let (_folder, short) = short(path).map_err(named)?;
    match std::fs::remove_file(&short) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(e)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&short).map_err(named)?;
    std::fs::set_permissions(&short, Permissions::from_mode(0o600)).map_err(named)?;
    listener.set_nonblocking(true).map_err(named)?;
    Ok(listener)
}
