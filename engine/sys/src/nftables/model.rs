//! A table as a value: sets, maps, chains and rules, no more of the language than is used.

use std::net::IpAddr;

/// A table of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Sets and maps.
    pub sets: Vec<Set>,
    /// Chains; those that are jumped to stand before those that jump.
    pub chains: Vec<Chain>,
}

/// A set, or with `data` a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// Types of the key's parts.
    pub key: &'static [DataType],
    /// Types of the value's parts; empty for a set.
    pub data: &'static [DataType],
    /// What is in it.
    pub elements: Vec<Element>,
}

/// The type of one part of a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// An interface name.
    Ifname,
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// A transport protocol.
    InetProto,
    /// A port.
    InetService,
}

/// One part of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// An interface name of at most 15 bytes.
    Ifname(String),
    /// An address.
    Addr(IpAddr),
    /// A transport protocol's number.
    Protocol(u8),
    /// A port.
    Port(u16),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The key's parts.
    pub key: Vec<Value>,
    /// The value's parts; empty in a set.
    pub data: Vec<Value>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets enter it; none for a chain that is jumped to.
    pub hook: Option<ChainHook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs. Its policy is to accept: the table takes away, it never overrules other tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHook {
    /// What the chain may do.
    pub kind: HookKind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Order among the chains at that point.
    pub priority: i32,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Accept or drop.
    Filter,
    /// Translate addresses.
    Nat,
}

/// A point of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Come in, not yet routed.
    Prerouting,
    /// Routed, not for this host.
    Forward,
    /// Made on this host.
    Output,
    /// About to leave.
    Postrouting,
}

/// A rule: its statements apply from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Statement>);

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Something of a packet that a set is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The interface that it came in by.
    Iifname,
    /// The interface that it leaves by.
    Oifname,
    /// Its transport protocol.
    L4Proto,
    /// Its destination port.
    ThDport,
    /// Its IPv4 source.
    Ip4Saddr,
    /// Its IPv6 source.
    Ip6Saddr,
    /// Its IPv4 destination.
    Ip4Daddr,
    /// Its IPv6 destination.
    Ip6Daddr,
}

/// What a rule says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// It is of this family.
    Family(Family),
    /// It did not come in by `lo`.
    NotFromLoopback,
    /// Its destination is, or with `negate` is not, a loopback address of this family.
    LoopbackDestination {
        /// `127.0.0.0/8` or `::1`.
        family: Family,
        /// The opposite.
        negate: bool,
    },
    /// Its source is in `127.0.0.0/8`.
    LoopbackSource,
    /// Its destination is an address of this host.
    LocalDestination,
    /// Its connection is known.
    EstablishedOrRelated,
    /// Its connection's destination was translated.
    DestinationTranslated,
    /// These parts of it are, or with `negate` are not, in a set.
    InSet {
        /// The parts.
        fields: &'static [Field],
        /// The set's name.
        set: &'static str,
        /// The opposite.
        negate: bool,
    },
    /// Its destination becomes what a map has for these parts of it; without an entry the rule ends here.
    DnatByMap {
        /// Family of the new destination.
        family: Family,
        /// The parts.
        fields: &'static [Field],
        /// The map's name.
        map: &'static str,
    },
    /// Its source becomes the address of the interface that it leaves by.
    Masquerade,
    /// What becomes of it.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This table lets it pass.
    Accept,
    /// It is gone.
    Drop,
    /// It goes through this chain and comes back.
    Jump(&'static str),
}

/// A change of a set's or map's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Adds elements; those that are there stay.
    Add(&'static str, Vec<Element>),
    /// Removes elements.
    Remove(&'static str, Vec<Element>),
}
