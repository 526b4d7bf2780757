//! Where the daemon is: `-H`, `DOCKER_HOST`, or the default socket.

use std::path::PathBuf;

/// The socket gantryd listens on unless configured otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/gantry/gantry.sock";

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
    },
    /// The daemon of another machine, through its ssh daemon and a client there.
    Ssh(SshTarget),
}

/// `ssh://[USER@]HOST[:PORT][/SOCKET]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SshTarget {
    /// Empty = as ssh is configured.
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// The daemon's socket there; empty = the client's default there.
    pub(crate) socket: String,
}

impl SshTarget {
    fn parse(address: &str) -> Result<Self, &'static str> {
        let (authority, socket) = match address.find('/') {
            Some(at) => (&address[..at], address[at..].trim_end_matches('/')),
            None => (address, ""),
        };
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err("plain-text password is not supported");
        }
        let (host, port) = split_port(place).ok_or("no host specified")?;
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("no host specified");
        }
        // These become words of ssh's command line, and of one of a shell there.
        if host.starts_with('-') || user.starts_with('-') {
            return Err("a host or user that begins with a dash would be an option of ssh");
        }
        if socket.contains('\'') {
            return Err("the path of the socket has a quote");
        }
        Ok(Self { user: user.to_owned(), host: host.to_owned(), port, socket: socket.to_owned() })
    }

    /// The arguments of `ssh`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
        if !self.user.is_empty() {
            words.extend(["-l".to_owned(), self.user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.extend(["--".to_owned(), self.host.clone()]);
        let host = if self.socket.is_empty() { String::new() } else { format!(" --host unix://{}", self.socket) };
        // docker's client there does as well.
        words.push(format!(
            "sh -c 'if command -v gantry >/dev/null 2>&1; then exec gantry{host} system dial-stdio; \
             else exec docker{host} system dial-stdio; fi'"
        ));
        words
    }
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
        "ssh" => {
            let target = SshTarget::parse(address).map_err(|reason| format!("{text}: {reason}"))?;
            Ok(Host { shown: text.to_owned(), endpoint: Endpoint::Ssh(target), tls: false })
        }
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
    }

    #[test]
    fn ssh_addresses_become_words_of_ssh() {
        let words = |text: &str| match parse_host(text, false).unwrap().endpoint {
            Endpoint::Ssh(target) => target.arguments(),
            other => panic!("{other:?}"),
        };
        let plain = words("ssh://h");
        assert_eq!(plain[..5], ["-o", "ConnectTimeout=30", "-T", "--", "h"]);
        assert!(
            plain[5].contains("exec gantry system dial-stdio") && plain[5].contains("exec docker system dial-stdio")
        );
        let all = words("ssh://me@h:2222/run/d.sock");
        assert_eq!(all[3..9], ["-l", "me", "-p", "2222", "--", "h"]);
        assert!(all[9].contains("gantry --host unix:///run/d.sock system dial-stdio"));
        for (bad, why) in [
            ("ssh://", "no host"),
            ("ssh://u:p@h", "plain-text password"),
            ("ssh://-oProxyCommand=x", "begins with a dash"),
            ("ssh://h/a'b", "quote"),
        ] {
            assert!(parse_host(bad, false).unwrap_err().contains(why), "{bad}");
        }
    }
}
