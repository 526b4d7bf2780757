//! Syslog: messages in the formats that docker's driver writes, and the connections that carry them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use shim_api::log_format::Stream;
use shim_api::options::{SyslogAddress, SyslogFormat};
use shim_api::time::{rfc3339_local, stamp};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use super::remote_log::Record;

/// Where this machine's syslog daemon may listen.
const LOCAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Writes a line as one message, which ends with a newline. Empty lines are none, as with docker.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, facility: u8, format: SyslogFormat, tag: &str, hostname: &str) {
    if record.text.is_empty() {
        return;
    }
    let severity = if record.stream == Stream::Stderr { 3 } else { 6 };
    let priority = u32::from(facility) * 8 + severity;
    let (time_ns, pid) = (record.time_ns, std::process::id());
    let offset_s = sys::local_time::utc_offset_s(time_ns.div_euclid(1_000_000_000));
    let time = match format {
        SyslogFormat::Unix | SyslogFormat::Rfc3164 => stamp(time_ns, offset_s),
        SyslogFormat::Rfc5424 => rfc3339_local(time_ns, offset_s, 0),
        SyslogFormat::Rfc5424Micro => rfc3339_local(time_ns, offset_s, 6),
    };
    let head = match format {
        SyslogFormat::Unix => format!("<{priority}>{time} {tag}[{pid}]: "),
        SyslogFormat::Rfc3164 => format!("<{priority}>{time} {hostname} {tag}[{pid}]: "),
        SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
            format!("<{priority}>1 {time} {hostname} {tag} {pid} {tag} - ")
        }
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&record.text);
    out.push(b'\n');
}

/// A connection to a receiver.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Datagrams(UnixDatagram),
    Udp(UdpSocket),
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Local => Self::open_local().await,
            SyslogAddress::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            SyslogAddress::Unixgram(path) => Self::to_datagrams(path),
            SyslogAddress::Tcp(addresses) => Ok(Self::Tcp(TcpStream::connect(&addresses[..]).await?)),
            SyslogAddress::Udp(addresses) => Self::to_udp(addresses).await,
        }
    }

    async fn open_local() -> io::Result<Self> {
        for path in LOCAL_SOCKETS.map(Path::new) {
            if let Ok(datagrams) = Self::to_datagrams(path) {
                return Ok(datagrams);
            }
            if let Ok(stream) = UnixStream::connect(path).await {
                return Ok(Self::Unix(stream));
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "no syslog daemon listens on this machine"))
    }

    async fn to_udp(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(Self::Udp(socket)),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// Connects to a Unix datagram socket.
    pub(super) fn to_datagrams(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self::Datagrams(socket))
    }

    /// Whether messages follow each other; else each is a packet.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    /// Writes all of it, or one packet. An empty packet is none.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Datagrams(socket) => socket.send(bytes).await.map(|_| ()),
            Self::Udp(socket) => socket.send(bytes).await.map(|_| ()),
        }
    }

    /// Waits until the other end of a stream is gone: what is written then would be lost without a word.
    pub(super) async fn closed(&self) -> io::Error {
        let mut nothing = [0; 512];
        loop {
            let (ready, read) = match self {
                Self::Tcp(stream) => (stream.readable().await, stream.try_read(&mut nothing)),
                Self::Unix(stream) => (stream.readable().await, stream.try_read(&mut nothing)),
                Self::Datagrams(_) | Self::Udp(_) => return std::future::pending().await,
            };
            match (ready, read) {
                (Err(e), _) => return e,
                (_, Ok(0)) => {
                    return io::Error::new(io::ErrorKind::ConnectionReset, "the receiver closed the connection");
                }
                (_, Ok(_)) => {}
                (_, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                (_, Err(e)) => return e,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shim_api::time::parse_rfc3339;

    use super::*;

    fn message(format: SyslogFormat, stream: Stream, text: &str) -> String {
        let mut out = Vec::new();
        let record =
            Record { time_ns: 1_709_251_199_123_456_789, stream, partial: false, text: text.as_bytes().to_vec() };
        write(&mut out, &record, 16, format, "web", "node1");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_have_dockers_forms() {
        let pid = std::process::id();
        let unix = message(SyslogFormat::Unix, Stream::Stdout, "hello");
        assert!(unix.starts_with("<134>") && unix.ends_with(&format!(" web[{pid}]: hello\n")), "{unix}");
        let old = message(SyslogFormat::Rfc3164, Stream::Stderr, "oh");
        assert!(old.starts_with("<131>") && old.ends_with(&format!(" node1 web[{pid}]: oh\n")), "{old}");
        let new = message(SyslogFormat::Rfc5424Micro, Stream::Stdout, "hello");
        let words: Vec<&str> = new.trim_end().splitn(8, ' ').collect();
        assert_eq!(words[0], "<134>1");
        assert_eq!(parse_rfc3339(words[1].as_bytes()), Some(1_709_251_199_123_456_000));
        assert_eq!(words[2..], ["node1", "web", &pid.to_string(), "web", "-", "hello"]);
        assert_eq!(message(SyslogFormat::Unix, Stream::Stdout, ""), "");
    }
}
