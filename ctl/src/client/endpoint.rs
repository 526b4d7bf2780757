//! Where the daemon is: `-H`, `DOCKER_HOST`, or the default socket.

use std::path::PathBuf;

/// The socket gantryd listens on unless configured otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/gantry/gantry.sock";

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// An endpoint as typed and as understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// For messages.
    pub(crate) shown: String,
    pub(crate) endpoint: Endpoint,
    /// The address itself asks for TLS (`https://`).
    pub(crate) tls: bool,
}

/// Reads an address by docker's rules; `tls` decides the default port.
pub(crate) fn parse_host(text: &str, tls: bool) -> Result<Host, String> {
    let invalid = || format!("invalid bind address format: {text}");
    let (scheme, address) = match text.split_once("://") {
        Some((scheme, address)) => (scheme, address),
        None => ("tcp", text),
    };
    match scheme {
        "unix" => {
            let path = if address.is_empty() { "/var/run/docker.sock" } else { address };
            Ok(Host { shown: format!("unix://{path}"), endpoint: Endpoint::Unix(path.into()), tls: false })
        }
        "tcp" | "http" | "https" => {
            let tls = tls || scheme == "https";
            let (host, port) = split_port(address.trim_end_matches('/')).ok_or_else(invalid)?;
            let port = port.unwrap_or(if tls { 2376 } else { 2375 });
            let host = if host.is_empty() { "localhost" } else { host };
            Ok(Host {
                shown: format!("tcp://{host}:{port}"),
                endpoint: Endpoint::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port },
                tls,
            })
        }
        "ssh" => Err(format!(
            "{text}: connections over ssh are not supported; forward the socket with `ssh -L` and use -H unix://PATH"
        )),
        _ => Err(invalid()),
    }
}

/// `host:port`, `[::1]:port`, `host`, `:port`. A path behind the address is refused.
fn split_port(address: &str) -> Option<(&str, Option<u16>)> {
    if address.is_empty() || address.contains('/') {
        return None;
    }
    let after_bracket = address.rfind(']').map_or(0, |at| at + 1);
    match address[after_bracket..].rfind(':') {
        Some(at) => {
            let (host, port) = address.split_at(after_bracket + at);
            Some((host, Some(port[1..].parse().ok()?)))
        }
        None => Some((address, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.to_owned(), port };
        let cases = [
            ("unix:///a/b.sock", false, Endpoint::Unix("/a/b.sock".into()), "unix:///a/b.sock"),
            ("tcp://h:1", false, tcp("h", 1), "tcp://h:1"),
            ("tcp://h", false, tcp("h", 2375), "tcp://h:2375"),
            ("tcp://h", true, tcp("h", 2376), "tcp://h:2376"),
            ("https://h/", false, tcp("h", 2376), "tcp://h:2376"),
            ("foo", false, tcp("foo", 2375), "tcp://foo:2375"),
            (":99", false, tcp("localhost", 99), "tcp://localhost:99"),
            ("tcp://[::1]:7", false, tcp("::1", 7), "tcp://[::1]:7"),
        ];
        for (text, tls, endpoint, shown) in cases {
            let host = parse_host(text, tls).unwrap();
            assert_eq!((host.endpoint, host.shown.as_str()), (endpoint, shown));
        }
        for bad in ["zz://foo", "tcp://h:x", "tcp://h/x", "tcp://"] {
            assert_eq!(parse_host(bad, false).unwrap_err(), format!("invalid bind address format: {bad}"));
        }
        assert!(parse_host("ssh://h", false).unwrap_err().contains("not supported"));
    }
}
