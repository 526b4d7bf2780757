//! Opens a connection: unix socket, TCP, or TLS over TCP. TLS is set up only where it is used.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::{Endpoint, SshTarget};
use crate::error::{Error, Result};

/// Files of a mutual TLS connection.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A byte stream to the daemon.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stream::Unix(_) => "Unix",
            Stream::Tcp(_) => "Tcp",
            Stream::Tls(_) => "Tls",
        })
    }
}

/// Connects; the I/O error tells whether anything listens there.
pub(crate) async fn connect(endpoint: &Endpoint, tls: Option<&TlsFiles>) -> Result<io::Result<Stream>> {
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return Ok(UnixStream::connect(path).await.map(Stream::Unix)),
        Endpoint::Tcp { host, port } => (host, *port),
        Endpoint::Ssh(target) => return Ok(over_ssh(target).map(Stream::Unix)),
    };
    let stream = match TcpStream::connect((host.as_str(), port)).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    stream.set_nodelay(true)?;
    let Some(files) = tls else { return Ok(Ok(Stream::Tcp(stream))) };
    let connector = TlsConnector::from(Arc::new(tls_config(files)?));
    let name = ServerName::try_from(host.clone())
        .map_err(|error| Error::message(format!("{host}: not a name TLS can verify: {error}")))?;
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| Error::message(format!("TLS with {host}:{port}: {error}")))?;
    Ok(Ok(Stream::Tls(Box::new(stream))))
}

/// A connection through ssh, which ends when we close ours.
fn over_ssh(target: &SshTarget) -> io::Result<UnixStream> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut ssh = Command::new("ssh");
    ssh.args(target.arguments());
    ssh.stdin(OwnedFd::from(theirs.try_clone()?)).stdout(OwnedFd::from(theirs));
    // What ssh asks or complains about is for the user.
    ssh.spawn().map_err(|error| io::Error::other(format!("ssh: {}", crate::error::reason(&error))))?;
    ours.set_nonblocking(true)?;
    UnixStream::from_std(ours)
}

/// The daemon is always verified against the CA file; we show our certificate if there is one.
fn tls_config(files: &TlsFiles) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| Error::message(format!("{}: {error}", files.ca.display())))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::message(format!("TLS: {error}")))?
        .with_root_certificates(roots);
    if !files.cert.exists() && !files.key.exists() {
        return Ok(builder.with_no_client_auth());
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
    builder
        .with_client_auth_cert(certificates(&files.cert)?, key)
        .map_err(|error| Error::message(format!("{}: {error}", files.cert.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    let list: std::result::Result<Vec<_>, _> = read.collect();
    let list = list.map_err(|error| unreadable(path, &error))?;
    if list.is_empty() {
        return Err(Error::message(format!("{}: no certificate in the file", path.display())));
    }
    Ok(list)
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::message(format!("could not read TLS file {}: {error}", path.display()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
