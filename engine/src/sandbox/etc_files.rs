//! The text of /etc/resolv.conf, /etc/hosts and /etc/hostname of a sandbox. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::spec::DnsSpec;

/// Name servers used when the host's file names none that a container could reach.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// resolv.conf: what was asked for, the rest from the host's file. With a network namespace of its own, the host's
/// loopback servers are left out, for nobody listens there; a host without others gives public ones, as docker does.
pub fn resolv_conf(asked: &DnsSpec, host: &str, own_network: bool) -> String {
    let words_of = |keyword: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(keyword));
        let words = lines.filter(|rest| rest.starts_with([' ', '\t'])).map(|rest| rest.split_ascii_whitespace());
        words.flat_map(|words| words.map(String::from).collect::<Vec<_>>()).collect()
    };
    let reachable = |server: &String| !own_network || !server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let or_host = |asked: &[String], keyword: &str| if asked.is_empty() { words_of(keyword) } else { asked.to_vec() };
    let mut servers = asked.servers.clone();
    if servers.is_empty() {
        servers = words_of("nameserver").into_iter().filter(reachable).collect();
        if servers.is_empty() {
            servers = FALLBACK_SERVERS.map(String::from).to_vec();
        }
    }
    let searches: Vec<String> = or_host(&asked.searches, "search").into_iter().filter(|s| s != ".").collect();
    let options = or_host(&asked.options, "options");
    let mut text = String::new();
    for server in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// /etc/hosts: loopback, the extra hosts, then the sandbox's own addresses.
pub fn hosts(hostname: &str, domainname: &str, addresses: &[IpAddr], extra: &[(String, IpAddr)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    if !hostname.is_empty() {
        for address in addresses {
            if domainname.is_empty() {
                let _ = writeln!(text, "{address}\t{hostname}");
            } else {
                let _ = writeln!(text, "{address}\t{hostname}.{domainname} {hostname}");
            }
        }
    }
    text
}

/// Splits `name:address`; the address may be IPv6 and may stand in brackets. `host-gateway` is `gateway`.
///
/// # Errors
/// `InvalidArgument` with docker's words.
pub fn extra_host(text: &str, gateway: Option<IpAddr>) -> Result<(String, IpAddr)> {
    let wrong = || Error::invalid(format!("bad format for add-host: {text:?}"));
    let (name, address) = text.split_once([':', '=']).ok_or_else(wrong)?;
    if name.is_empty() || name.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(wrong());
    }
    if address == "host-gateway" {
        let missing = || Error::invalid("unable to derive the IP value for host-gateway");
        return Ok((name.to_owned(), gateway.ok_or_else(missing)?));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let ip = bare.parse().map_err(|_| Error::invalid(format!("invalid IP address in add-host: {address:?}")))?;
    Ok((name.to_owned(), ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2 edns0\n";

    #[test]
    fn the_hosts_file_is_taken_over_without_its_loopback_servers() {
        let own = resolv_conf(&DnsSpec::default(), HOST, true);
        assert_eq!(own, "nameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2 edns0\n");
        assert!(resolv_conf(&DnsSpec::default(), HOST, false).starts_with("nameserver 127.0.0.53\n"));
        assert!(resolv_conf(&DnsSpec::default(), "", true).starts_with("nameserver 8.8.8.8\n"));
    }

    #[test]
    fn what_was_asked_for_goes_first() {
        let one = |text: &str| vec![text.to_owned()];
        let asked = DnsSpec { servers: one("1.2.3.4"), searches: one("."), options: one("ndots:5") };
        assert_eq!(resolv_conf(&asked, HOST, true), "nameserver 1.2.3.4\noptions ndots:5\n");
    }

    #[test]
    fn hosts_names_itself_and_extras() {
        let extra = [
            extra_host("db:[fd00::1]", None).unwrap(),
            extra_host("gw:host-gateway", Some([10, 0, 0, 1].into())).unwrap(),
        ];
        let text = hosts("web", "example", &[[10, 0, 0, 7].into()], &extra);
        assert!(text.ends_with("fd00::1\tdb\n10.0.0.1\tgw\n10.0.0.7\tweb.example web\n"), "{text}");
        for wrong in ["", "x", ":1.2.3.4", "a b:1.2.3.4", "a:nope", "a\n:1.1.1.1", "g:host-gateway"] {
            assert!(extra_host(wrong, None).is_err(), "{wrong:?}");
        }
    }
}
