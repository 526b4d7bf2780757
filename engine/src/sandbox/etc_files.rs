//! The text of /etc/resolv.conf, /etc/hosts and /etc/hostname of a sandbox. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::error::{Error, Result};
use crate::network::Forwarding;
use crate::spec::DnsSpec;

/// The host's own file.
pub const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS.
const DNS_PORT: u16 = 53;
/// Name servers used when the host's file names none that a container could reach.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// resolv.conf: what was asked for, the rest from the host's file. With a network namespace of its own, the host's
/// loopback servers are left out, for nobody listens there; a host without others gives public ones, as docker does.
pub fn resolv_conf(asked: &DnsSpec, host: &str, own_network: bool) -> String {
    let words_of = |keyword: &str| words_of(host, keyword);
    let reachable = |server: &String| !own_network || !server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let or_host = |asked: &[String], keyword: &str| if asked.is_empty() { words_of(keyword) } else { asked.to_vec() };
    let mut servers = asked.servers.clone();
    if servers.is_empty() {
        servers = words_of("nameserver").into_iter().filter(reachable).collect();
        if servers.is_empty() {
            servers = FALLBACK_SERVERS.map(String::from).to_vec();
        }
    }
    resolv_text(&servers, &or_host(&asked.searches, "search"), &or_host(&asked.options, "options"))
}

/// resolv.conf for a sandbox with names of its own: the embedded resolver alone, which forwards to the others. A single
/// label is asked for as it is first, because that is what the names of containers are.
pub fn resolv_conf_embedded(asked: &DnsSpec, host: &str, resolver: IpAddr) -> String {
    let or_host =
        |asked: &[String], keyword: &str| if asked.is_empty() { words_of(host, keyword) } else { asked.to_vec() };
    let mut options = or_host(&asked.options, "options");
    if !sets_ndots(&asked.options) {
        options.retain(|option| !option.starts_with("ndots:"));
        options.push("ndots:0".into());
    }
    resolv_text(&[resolver.to_string()], &or_host(&asked.searches, "search"), &options)
}

/// Whom the embedded resolver asks for other names.
pub fn forwarding(asked: &DnsSpec) -> Forwarding {
    let addresses = asked.servers.iter().filter_map(|server| server.parse().ok());
    let servers = addresses.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect();
    Forwarding { servers, ndots_set: sets_ndots(&asked.options) }
}

fn sets_ndots(options: &[String]) -> bool {
    options.iter().any(|option| option.starts_with("ndots:"))
}

fn words_of(host: &str, keyword: &str) -> Vec<String> {
    let lines = host.lines().filter_map(|line| line.trim().strip_prefix(keyword));
    let words = lines.filter(|rest| rest.starts_with([' ', '\t'])).map(|rest| rest.split_ascii_whitespace());
    words.flat_map(|words| words.map(String::from).collect::<Vec<_>>()).collect()
}

fn resolv_text(servers: &[String], searches: &[String], options: &[String]) -> String {
    let searches: Vec<&str> = searches.iter().map(String::as_str).filter(|s| *s != ".").collect();
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
    for line in own_lines(hostname, domainname, addresses) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The lines of /etc/hosts for a sandbox's own addresses.
pub fn own_lines(hostname: &str, domainname: &str, addresses: &[IpAddr]) -> Vec<String> {
    let line = |address: &IpAddr| match domainname {
        "" => format!("{address}\t{hostname}"),
        domain => format!("{address}\t{hostname}.{domain} {hostname}"),
    };
    if hostname.is_empty() { Vec::new() } else { addresses.iter().map(line).collect() }
}

/// A line of /etc/hosts for a container that this one is linked to, as docker writes it.
pub fn link_line(address: IpAddr, alias: &str, short_id: &str, name: &str) -> String {
    let further = if alias == name { String::new() } else { format!(" {name}") };
    format!("{address}\t{alias} {short_id}{further}\n")
}

/// /etc/hosts without those lines of `old` that are not in `new`, and with those of `new` that are not in `old` at its
/// end. All others stay: they may be a user's.
pub fn replace_lines(text: &str, old: &[String], new: &[String]) -> String {
    let gone = |line: &str| old.iter().any(|l| l == line) && !new.iter().any(|l| l == line);
    let mut changed: String = text.lines().filter(|line| !gone(line)).map(|line| format!("{line}\n")).collect();
    for line in new.iter().filter(|line| !old.contains(line)) {
        let _ = writeln!(changed, "{line}");
    }
    changed
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
    fn the_embedded_resolver_is_the_only_one_named() {
        let own = resolv_conf_embedded(&DnsSpec::default(), HOST, [127, 0, 0, 11].into());
        assert_eq!(own, "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 ndots:0\n");
        let asked = DnsSpec { servers: vec!["10.9.9.9".into()], options: vec!["ndots:2".into()], ..Default::default() };
        let text = resolv_conf_embedded(&asked, "", [127, 0, 0, 11].into());
        assert_eq!(text, "nameserver 127.0.0.11\noptions ndots:2\n");
        let forwarding = forwarding(&asked);
        assert!(forwarding.ndots_set);
        assert_eq!(forwarding.servers, ["10.9.9.9:53".parse().unwrap()]);
    }

    #[test]
    fn own_lines_come_and_go_and_others_stay() {
        let lines = |ips: &[[u8; 4]]| own_lines("web", "", &ips.iter().map(|ip| IpAddr::from(*ip)).collect::<Vec<_>>());
        let text = "127.0.0.1\tlocalhost\n10.0.0.7\tweb\n1.2.3.4 mine\n";
        let both = replace_lines(text, &lines(&[[10, 0, 0, 7]]), &lines(&[[10, 0, 0, 7], [10, 1, 0, 2]]));
        assert_eq!(both, "127.0.0.1\tlocalhost\n10.0.0.7\tweb\n1.2.3.4 mine\n10.1.0.2\tweb\n");
        let other = replace_lines(&both, &lines(&[[10, 0, 0, 7], [10, 1, 0, 2]]), &lines(&[[10, 1, 0, 2]]));
        assert_eq!(other, "127.0.0.1\tlocalhost\n1.2.3.4 mine\n10.1.0.2\tweb\n");
        assert_eq!(link_line([10, 0, 0, 9].into(), "db", "abc", "db"), "10.0.0.9\tdb abc\n");
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
