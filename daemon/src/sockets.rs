//! Listening sockets: bound here, or handed over by systemd (socket activation).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

/// First file descriptor of socket activation (`sd_listen_fds(3)`).
const LISTEN_FDS_START: i32 = 3;
/// Sockets taken over at most.
const LISTEN_FDS_MAX: i32 = 16;

/// Sockets that systemd handed over, by the name their unit gives them (`FileDescriptorName=`).
#[derive(Debug, Default)]
pub(crate) struct Activated {
    named: VecDeque<(String, OwnedFd)>,
}

impl Activated {
    /// Takes them over. Must be called once, before anything else opens files.
    pub(crate) fn take() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let for_us = number("LISTEN_PID").is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
        let count = if for_us { number("LISTEN_FDS").unwrap_or(0).clamp(0, LISTEN_FDS_MAX) } else { 0 };
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let named = (LISTEN_FDS_START..LISTEN_FDS_START + count).map(|fd| {
            let name = names.next().unwrap_or_default().to_owned();
            #[expect(unsafe_code, reason = "a descriptor that was handed over has no owner in Rust yet")]
            // SAFETY: systemd passed these descriptors to this process alone, and this runs once, before any other
            // file is opened, so that nothing else owns them.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            (name, fd)
        });
        Self { named: named.collect() }
    }

    /// The next socket whose name is `wanted`; for the docker door also one without a known name.
    fn next(&mut self, wanted: &str) -> Option<OwnedFd> {
        let fits = |name: &str| name == wanted || (wanted == "docker" && name != "cri");
        let at = self.named.iter().position(|(name, _)| fits(name))?;
        self.named.remove(at).map(|(_, fd)| fd)
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Binds `address`, or takes the activated socket that `fd://` stands for. `door` is `docker` or `cri`.
pub(crate) async fn bind(
    address: &str,
    door: &str,
    group: &str,
    activated: &mut Activated,
) -> Result<Listener, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{door}.listen: {address}: {error}");
    if address.starts_with("fd://") {
        let fd = activated.next(door).ok_or_else(|| fail(&"no socket was handed over (socket activation)"))?;
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(|e| fail(&e))?;
        return UnixListener::from_std(listener).map(Listener::Unix).map_err(|e| fail(&e));
    }
    if let Some(path) = address.strip_prefix("unix://") {
        return bind_unix(Path::new(path), group).map(Listener::Unix).map_err(|e| fail(&e));
    }
    let host = address.strip_prefix("tcp://").unwrap_or(address);
    TcpListener::bind(host).await.map(Listener::Tcp).map_err(|e| fail(&e))
}

/// Binds the CRI's streaming server. Its URLs carry what protects it, so it must not be heard by others.
pub(crate) async fn bind_streaming(address: &str) -> Result<TcpListener, String> {
    let fail = |error: &dyn std::fmt::Display| format!("cri.streaming_listen: {address}: {error}");
    let parsed: SocketAddr = address.parse().map_err(|_| fail(&"this is not ADDRESS:PORT"))?;
    if parsed.ip().is_unspecified() {
        return Err(fail(&"clients are told this address, so it must be one of this machine's own"));
    }
    if !parsed.ip().is_loopback() {
        tracing::warn!(address, "cri.streaming_listen: exec, attach and port-forward cross the network unencrypted");
    }
    TcpListener::bind(parsed).await.map_err(|e| fail(&e))
}

/// Binds a unix socket with mode 0600, or 0660 for `group`. A socket that nobody answers on is replaced; one that is
/// answered on is another daemon's and is left alone.
fn bind_unix(path: &Path, group: &str) -> std::io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another daemon answers on this socket"));
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let mode = if group.is_empty() { 0o600 } else { 0o660 };
    if !group.is_empty() {
        std::os::unix::fs::chown(path, None, Some(group_id(group)?))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn group_id(name: &str) -> std::io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, format!("no group {name:?} on this machine"));
    let groups = std::fs::read_to_string("/etc/group")?;
    let fields = |line: &str| line.split(':').map(String::from).collect::<Vec<_>>();
    let line = groups.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name));
    line.and_then(|fields| fields.get(2)?.parse().ok()).ok_or_else(missing)
}

/// Removes the path of a unix socket that was bound here.
pub(crate) fn unlink(address: &str) {
    if let Some(path) = address.strip_prefix("unix://")
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path, "cannot remove the socket");
    }
}
