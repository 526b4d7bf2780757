//! The text of a table, as `nft list table` prints it.

use std::fmt;

use super::model::{
    Chain, ChainHook, DataType, Element, Family, Field, Hook, HookKind, Rule, Set, Statement, Table, Value, Verdict,
};

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.name)?;
        let mut first = true;
        let mut gap = |f: &mut fmt::Formatter<'_>| if std::mem::take(&mut first) { Ok(()) } else { writeln!(f) };
        for set in &self.sets {
            gap(f)?;
            write!(f, "{set}")?;
        }
        for chain in &self.chains {
            gap(f)?;
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.data.is_empty() { "set" } else { "map" };
        writeln!(f, "\t{kind} {} {{", self.name)?;
        write!(f, "\t\ttype {}", joined(self.key))?;
        if !self.data.is_empty() {
            write!(f, " : {}", joined(self.data))?;
        }
        writeln!(f)?;
        for (index, element) in self.elements.iter().enumerate() {
            f.write_str(if index == 0 { "\t\telements = { " } else { ",\n\t\t\t     " })?;
            write!(f, "{element}")?;
        }
        f.write_str(if self.elements.is_empty() { "" } else { " }\n" })?;
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.key))?;
        if self.data.is_empty() { Ok(()) } else { write!(f, " : {}", joined(&self.data)) }
    }
}

fn joined(parts: &[impl fmt::Display]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ifname => "ifname",
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ifname(name) => write!(f, "\"{name}\""),
            Self::Addr(ip) => write!(f, "{ip}"),
            Self::Protocol(6) => f.write_str("tcp"),
            Self::Protocol(17) => f.write_str("udp"),
            Self::Protocol(132) => f.write_str("sctp"),
            Self::Protocol(number) => write!(f, "{number}"),
            Self::Port(port) => write!(f, "{port}"),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for ChainHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            HookKind::Filter => "filter",
            HookKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {hook} priority ")?;
        match (self.priority, self.hook) {
            (-300, _) => f.write_str("raw")?,
            (-100, Hook::Prerouting) => f.write_str("dstnat")?,
            (0, _) => f.write_str("filter")?,
            (100, Hook::Postrouting) => f.write_str("srcnat")?,
            (number, _) => write!(f, "{number}")?,
        }
        f.write_str("; policy accept;")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V4 { "ip" } else { "ip6" })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::L4Proto => "meta l4proto",
            Self::ThDport => "th dport",
            Self::Ip4Saddr => "ip saddr",
            Self::Ip6Saddr => "ip6 saddr",
            Self::Ip4Daddr => "ip daddr",
            Self::Ip6Daddr => "ip6 daddr",
        })
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negate: bool| if negate { "!= " } else { "" };
        match self {
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::NotFromLoopback => f.write_str("iifname != \"lo\""),
            Self::LoopbackDestination { family: Family::V4, negate } => {
                write!(f, "ip daddr {}127.0.0.0/8", not(*negate))
            }
            Self::LoopbackDestination { family: Family::V6, negate } => write!(f, "ip6 daddr {}::1", not(*negate)),
            Self::LoopbackSource => f.write_str("ip saddr 127.0.0.0/8"),
            Self::LocalDestination => f.write_str("fib daddr type local"),
            Self::EstablishedOrRelated => f.write_str("ct state established,related"),
            Self::DestinationTranslated => f.write_str("ct status dnat"),
            Self::InSet { fields, set, negate } => write!(f, "{} {}@{set}", joined(fields), not(*negate)),
            Self::DnatByMap { family, fields, map } => write!(f, "dnat {family} to {} map @{map}", joined(fields)),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Verdict(Verdict::Accept) => f.write_str("accept"),
            Self::Verdict(Verdict::Drop) => f.write_str("drop"),
            Self::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
        }
    }
}
