//! PURE. The rules of all networks as one table: everything that changes is an element of a set or a map.
//!
//! The chains and their rules never change. A bridge is an element of `bridges` and of those sets that say what it may
//! do; a published port is one element of one map. The table only takes away: a packet that it accepts still has to
//! pass the tables of others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sys::nftables::{
    Chain, ChainHook, DataType, Element, Family, Field, Hook, HookKind, Rule, Set, Statement, Table, Update, Value,
    Verdict,
};

use crate::network::view::PublishedPort;

/// What the rules have to know of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BridgeRules {
    /// No way out and no way in.
    pub(super) internal: bool,
    /// Its traffic leaves with the host's IPv4 address.
    pub(super) masquerade_v4: bool,
    /// Its traffic leaves with the host's IPv6 address.
    pub(super) masquerade_v6: bool,
}

/// A published port and the address of the sandbox behind it, of the same family as the host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortRule<'a> {
    pub(super) port: &'a PublishedPort,
    pub(super) target: IpAddr,
}

use DataType::{Ifname, InetProto, InetService, Ipv4Addr, Ipv6Addr};

/// Name, key and value types of every set and map.
const SETS: &[(&str, &[DataType], &[DataType])] = &[
    ("bridges", &[Ifname], &[]),
    ("internal", &[Ifname], &[]),
    ("masquerade4", &[Ifname], &[]),
    ("masquerade6", &[Ifname], &[]),
    ("within", &[Ifname, Ifname], &[]),
    ("self4", &[Ipv4Addr, Ipv4Addr], &[]),
    ("self6", &[Ipv6Addr, Ipv6Addr], &[]),
    ("publish4", &[Ipv4Addr, InetProto, InetService], &[Ipv4Addr, InetService]),
    ("publish4_any", &[InetProto, InetService], &[Ipv4Addr, InetService]),
    ("publish6", &[Ipv6Addr, InetProto, InetService], &[Ipv6Addr, InetService]),
    ("publish6_any", &[InetProto, InetService], &[Ipv6Addr, InetService]),
];

/// The whole table, with its elements in a fixed order.
pub(super) fn table(name: &str, bridges: &BTreeMap<String, BridgeRules>, ports: &[PortRule<'_>]) -> Table {
    let mut contents: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
    let bridge_elements = bridges.iter().flat_map(|(name, rules)| bridge_elements(name, *rules));
    for (set, element) in bridge_elements.chain(ports.iter().flat_map(|port| port_elements(*port))) {
        contents.entry(set).or_default().push(element);
    }
    let sets = SETS.iter().map(|(name, key, data)| {
        let mut elements = contents.remove(name).unwrap_or_default();
        elements.sort();
        elements.dedup();
        Set { name, key, data, elements }
    });
    Table { name: name.to_owned(), sets: sets.collect(), chains: chains() }
}

/// The changes that bring a bridge under the rules.
pub(super) fn add_bridge(name: &str, rules: BridgeRules) -> Vec<Update> {
    bridge_elements(name, rules).into_iter().map(|(set, element)| Update::Add(set, vec![element])).collect()
}

/// The changes that take a bridge out of the rules.
pub(super) fn remove_bridge(name: &str, rules: BridgeRules) -> Vec<Update> {
    bridge_elements(name, rules).into_iter().map(|(set, element)| Update::Remove(set, vec![element])).collect()
}

/// The changes that publish ports.
pub(super) fn add_ports(ports: &[PortRule<'_>]) -> Vec<Update> {
    grouped(ports).into_iter().map(|(map, elements)| Update::Add(map, elements)).collect()
}

/// The changes that take published ports back.
pub(super) fn remove_ports(ports: &[PortRule<'_>]) -> Vec<Update> {
    grouped(ports).into_iter().map(|(map, elements)| Update::Remove(map, elements)).collect()
}

fn grouped(ports: &[PortRule<'_>]) -> BTreeMap<&'static str, Vec<Element>> {
    let mut groups: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for (map, element) in ports.iter().flat_map(|port| port_elements(*port)) {
        let elements = groups.entry(map).or_default();
        // The sandbox's own element is the same for all of its ports.
        if elements.last() != Some(&element) {
            elements.push(element);
        }
    }
    groups
}

fn bridge_elements(name: &str, rules: BridgeRules) -> Vec<(&'static str, Element)> {
    let element = |parts: usize| Element { key: vec![Value::Ifname(name.to_owned()); parts], data: Vec::new() };
    let mut found = vec![("bridges", element(1)), ("within", element(2))];
    for (set, wanted) in
        [("internal", rules.internal), ("masquerade4", rules.masquerade_v4), ("masquerade6", rules.masquerade_v6)]
    {
        if wanted {
            found.push((set, element(1)));
        }
    }
    found
}

/// The elements of a published port, with their map or set. None where the proxy alone serves it: on `::1`, or where the
/// host's address and the sandbox's are of different families.
fn port_elements(rule: PortRule<'_>) -> Vec<(&'static str, Element)> {
    let PublishedPort { container_port, protocol, host_ip, host_port } = *rule.port;
    if (host_ip.is_loopback() && host_ip.is_ipv6()) || host_ip.is_ipv4() != rule.target.is_ipv4() {
        return Vec::new();
    }
    let target = Value::Addr(rule.target);
    let mut key = vec![Value::Protocol(protocol.number()), Value::Port(host_port)];
    let (map, own) = match (host_ip.is_ipv4(), host_ip.is_unspecified()) {
        (true, true) => ("publish4_any", "self4"),
        (false, true) => ("publish6_any", "self6"),
        (true, false) => ("publish4", "self4"),
        (false, false) => ("publish6", "self6"),
    };
    if !host_ip.is_unspecified() {
        key.insert(0, Value::Addr(host_ip));
    }
    let published = Element { key, data: vec![target.clone(), Value::Port(container_port)] };
    vec![(map, published), (own, Element { key: vec![target.clone(), target], data: Vec::new() })]
}

const fn in_set(fields: &'static [Field], set: &'static str) -> Statement {
    Statement::InSet { fields, set, negate: false }
}

const FROM: &[Field] = &[Field::Iifname];
const TO: &[Field] = &[Field::Oifname];
const FROM_TO: &[Field] = &[Field::Iifname, Field::Oifname];
const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);
const DROP: Statement = Statement::Verdict(Verdict::Drop);
const PUBLISH: Statement = Statement::Verdict(Verdict::Jump("publish"));

/// The chains, in the order that a packet meets them.
fn chains() -> Vec<Chain> {
    vec![publish(), loopback(), prerouting(), output(), forward(), postrouting()]
}

fn base(name: &'static str, kind: HookKind, hook: Hook, priority: i32, rules: Vec<Vec<Statement>>) -> Chain {
    let hook = Some(ChainHook { kind, hook, priority });
    Chain { name, hook, rules: rules.into_iter().map(Rule).collect() }
}

/// A port published on one address goes before the same port published on all.
fn publish() -> Chain {
    const ANY: &[Field] = &[Field::L4Proto, Field::ThDport];
    const ADDR4: &[Field] = &[Field::Ip4Daddr, Field::L4Proto, Field::ThDport];
    const ADDR6: &[Field] = &[Field::Ip6Daddr, Field::L4Proto, Field::ThDport];
    let rule =
        |family, fields, map| Rule(vec![Statement::Family(family), Statement::DnatByMap { family, fields, map }]);
    let rules = vec![
        rule(Family::V4, ADDR4, "publish4"),
        rule(Family::V4, ANY, "publish4_any"),
        rule(Family::V6, ADDR6, "publish6"),
        rule(Family::V6, ANY, "publish6_any"),
    ];
    Chain { name: "publish", hook: None, rules }
}

/// What is published on a loopback address is for this host only, whatever a neighbour on the wire puts in a packet. The
/// same for the sandboxes of a bridge, where the kernel itself does not stop such packets (`route_localnet`); it goes by
/// what is on the wire: answers to a translated connection get their loopback address back only after this.
fn loopback() -> Chain {
    let drop =
        |family| vec![Statement::NotFromLoopback, Statement::LoopbackDestination { family, negate: false }, DROP];
    let pretender = vec![Statement::NotFromLoopback, Statement::LoopbackSource, DROP];
    base("loopback", HookKind::Filter, Hook::Prerouting, -300, vec![drop(Family::V4), drop(Family::V6), pretender])
}

fn prerouting() -> Chain {
    let rules = vec![vec![Statement::LocalDestination, PUBLISH]];
    base("prerouting", HookKind::Nat, Hook::Prerouting, -100, rules)
}

/// This host's own connections to its own addresses; those to `::1` are the proxy's, because IPv6 routes a loopback
/// source nowhere else.
fn output() -> Chain {
    let no_loopback6 = Statement::LoopbackDestination { family: Family::V6, negate: true };
    let rules = vec![
        vec![Statement::Family(Family::V4), Statement::LocalDestination, PUBLISH],
        vec![no_loopback6, Statement::LocalDestination, PUBLISH],
    ];
    base("output", HookKind::Nat, Hook::Output, -100, rules)
}

/// Between bridges and out of internal ones nothing passes; into a bridge only what a published port translated.
fn forward() -> Chain {
    let rules = vec![
        vec![Statement::EstablishedOrRelated, ACCEPT],
        vec![in_set(FROM_TO, "within"), ACCEPT],
        vec![in_set(TO, "internal"), DROP],
        vec![in_set(FROM, "internal"), DROP],
        vec![in_set(TO, "bridges"), Statement::DestinationTranslated, ACCEPT],
        vec![in_set(TO, "bridges"), DROP],
    ];
    base("forward", HookKind::Filter, Hook::Forward, 0, rules)
}

/// A connection of this host to `127.0.0.1` that was translated needs a source that the sandbox can answer.
///
/// The last rules are the hairpin: two sandboxes of one bridge that meet through a published port would else answer each
/// other directly, past the translation; a sandbox that meets itself would not answer its own address at all. The
/// latter goes by address, because with `br_netfilter` a frame that stays in its bridge has no incoming interface here.
fn postrouting() -> Chain {
    const SELF4: &[Field] = &[Field::Ip4Saddr, Field::Ip4Daddr];
    const SELF6: &[Field] = &[Field::Ip6Saddr, Field::Ip6Daddr];
    let out = |family, set| {
        let elsewhere = Statement::InSet { fields: TO, set: "bridges", negate: true };
        vec![Statement::Family(family), in_set(FROM, set), elsewhere, Statement::Masquerade]
    };
    let back = |family, fields, set| {
        let translated = Statement::DestinationTranslated;
        vec![Statement::Family(family), in_set(fields, set), translated, Statement::Masquerade]
    };
    let rules = vec![
        out(Family::V4, "masquerade4"),
        out(Family::V6, "masquerade6"),
        vec![Statement::LoopbackSource, in_set(TO, "bridges"), Statement::Masquerade],
        vec![in_set(FROM_TO, "within"), Statement::DestinationTranslated, Statement::Masquerade],
        back(Family::V4, SELF4, "self4"),
        back(Family::V6, SELF6, "self6"),
    ];
    base("postrouting", HookKind::Nat, Hook::Postrouting, 100, rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::Protocol;

    const OPEN: BridgeRules = BridgeRules { internal: false, masquerade_v4: true, masquerade_v6: false };

    fn published(host_ip: &str, host_port: u16, protocol: Protocol, container_port: u16) -> PublishedPort {
        PublishedPort { container_port, protocol, host_ip: host_ip.parse().unwrap(), host_port }
    }

    fn example() -> Table {
        let bridges = BTreeMap::from([
            ("gantry0".to_owned(), OPEN),
            ("br-0a1b2c3d4e5f".to_owned(), BridgeRules { internal: true, masquerade_v4: false, masquerade_v6: false }),
        ]);
        let ports = [
            published("0.0.0.0", 8080, Protocol::Tcp, 80),
            published("10.0.0.5", 8080, Protocol::Tcp, 81),
            published("::", 53, Protocol::Udp, 5353),
            published("127.0.0.1", 9000, Protocol::Tcp, 90),
        ];
        let targets = ["172.17.0.2", "172.17.0.3", "fd00::2", "172.17.0.2"];
        let rules: Vec<_> = ports
            .iter()
            .zip(targets)
            .map(|(port, target)| PortRule { port, target: target.parse().unwrap() })
            .collect();
        table("gantry", &bridges, &rules)
    }

    #[test]
    fn the_table_reads_as_drawn() {
        insta::assert_snapshot!(example().to_string());
    }

    #[test]
    fn what_is_added_is_what_is_removed() {
        let port = published("10.0.0.5", 8080, Protocol::Sctp, 81);
        let rule = [PortRule { port: &port, target: "172.17.0.3".parse().unwrap() }];
        let strip = |updates: Vec<Update>| -> Vec<_> {
            updates
                .into_iter()
                .map(|u| match u {
                    Update::Add(set, e) | Update::Remove(set, e) => (set, e),
                })
                .collect()
        };
        assert_eq!(strip(add_ports(&rule)), strip(remove_ports(&rule)));
        assert_eq!(strip(add_bridge("x", OPEN)), strip(remove_bridge("x", OPEN)));
        assert_eq!(add_bridge("x", OPEN).len(), 3);
    }

    #[test]
    fn a_port_on_ipv6_loopback_or_of_the_other_family_has_no_rule() {
        for (host, target) in [("::1", "fd00::2"), ("::1", "172.17.0.2"), ("::", "172.17.0.2")] {
            let port = published(host, 1, Protocol::Tcp, 2);
            assert_eq!(add_ports(&[PortRule { port: &port, target: target.parse().unwrap() }]), Vec::new(), "{host}");
        }
    }
}
