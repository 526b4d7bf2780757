//! The netlink messages of a table, the same that `nft` would send.

use std::io;
use std::net::IpAddr;

use super::model::{
    Chain, DataType, Element, Family, Field, Hook, HookKind, Rule, Set, Statement, Table, Update, Value, Verdict,
};
use crate::netlink::{APPEND, CREATE, Message};

const SUBSYS_NFTABLES: u16 = 10;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFPROTO_INET: u8 = 1;

/// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST`: only our socket may change the table, and it outlives the socket.
pub(super) const OWNER_FLAGS: u32 = 0x2 | 0x4;
/// `NFT_SET_MAP`.
const SET_IS_MAP: u32 = 0x8;
/// An interface name's length in a register.
const IFNAME_LEN: usize = 16;
/// Userdata by which `nft` knows how to print interface names: `NFTNL_UDATA_SET_KEYBYTEORDER`, 4 bytes, host's order.
const KEY_IN_HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// Elements in one message: its attribute must stay under 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 400;
/// Bytes of a register slot.
const SLOT: usize = 4;

/// Writes the messages of one table.
#[derive(Debug)]
pub(super) struct Encoder {
    table: String,
}

impl Encoder {
    pub(super) fn new(table: &str) -> Self {
        Self { table: table.to_owned() }
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let mut message = Message::new(SUBSYS_NFTABLES << 8 | kind, flags, &[NFPROTO_INET, 0, 0, 0]);
        // NFTA_*_TABLE and NFTA_TABLE_NAME are all 1.
        message.text(1, &self.table);
        message
    }

    /// The messages that begin and end a transaction.
    pub(super) fn brackets(&self) -> (Message, Message) {
        let [high, low] = SUBSYS_NFTABLES.to_be_bytes();
        let bracket = |kind| Message::new(kind, 0, &[0, 0, high, low]);
        (bracket(BATCH_BEGIN), bracket(BATCH_END))
    }

    pub(super) fn remove_table(&self) -> Message {
        self.message(DELTABLE, 0)
    }

    pub(super) fn table(&self, table: &Table, flags: u32) -> io::Result<Vec<Message>> {
        let mut create = self.message(NEWTABLE, CREATE);
        create.u32_be(2, flags);
        let mut messages = vec![create];
        for (set, id) in table.sets.iter().zip(1..) {
            messages.push(self.set(set, id));
            messages.extend(self.elements(NEWSETELEM, set.name, &set.elements)?);
        }
        messages.extend(table.chains.iter().map(|chain| self.chain(chain)));
        for chain in &table.chains {
            messages.extend(chain.rules.iter().map(|rule| self.rule(chain.name, rule)));
        }
        Ok(messages)
    }

    pub(super) fn updates(&self, updates: &[Update]) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        for update in updates {
            messages.extend(match update {
                Update::Add(set, elements) => self.elements(NEWSETELEM, set, elements)?,
                Update::Remove(set, elements) => self.elements(DELSETELEM, set, elements)?,
            });
        }
        Ok(messages)
    }

    fn set(&self, set: &Set, id: u32) -> Message {
        let mut message = self.message(NEWSET, CREATE);
        message.text(2, set.name);
        message.u32_be(3, if set.data.is_empty() { 0 } else { SET_IS_MAP });
        message.u32_be(4, type_number(set.key)).u32_be(5, types_len(set.key));
        if !set.data.is_empty() {
            message.u32_be(6, type_number(set.data)).u32_be(7, types_len(set.data));
        }
        message.u32_be(10, id);
        if set.key == [DataType::Ifname] {
            message.attr(13, &KEY_IN_HOST_ORDER);
        }
        message
    }

    fn elements(&self, kind: u16, set: &str, elements: &[Element]) -> io::Result<Vec<Message>> {
        let flags = if kind == NEWSETELEM { CREATE } else { 0 };
        let mut messages = Vec::new();
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let encoded = chunk.iter().map(encode_element).collect::<io::Result<Vec<_>>>()?;
            let mut message = self.message(kind, flags);
            message.text(2, set).nest(3, |list| {
                for (key, data) in &encoded {
                    list.nest(1, |element| {
                        element.nest(1, |m| {
                            m.attr(1, key);
                        });
                        if kind == NEWSETELEM && !data.is_empty() {
                            element.nest(2, |m| {
                                m.attr(1, data);
                            });
                        }
                    });
                }
            });
            messages.push(message);
        }
        Ok(messages)
    }

    fn chain(&self, chain: &Chain) -> Message {
        let mut message = self.message(NEWCHAIN, CREATE);
        message.text(3, chain.name);
        if let Some(hook) = &chain.hook {
            let number = match hook.hook {
                Hook::Prerouting => 0,
                Hook::Forward => 2,
                Hook::Output => 3,
                Hook::Postrouting => 4,
            };
            message.nest(4, |m| {
                m.u32_be(1, number).u32_be(2, hook.priority.cast_unsigned());
            });
            message.u32_be(5, NF_ACCEPT);
            message.text(7, if hook.kind == HookKind::Nat { "nat" } else { "filter" });
        }
        message
    }

    fn rule(&self, chain: &str, rule: &Rule) -> Message {
        let mut message = self.message(NEWRULE, CREATE | APPEND);
        message.text(2, chain).nest(4, |list| {
            for statement in &rule.0 {
                encode_statement(list, *statement);
            }
        });
        message
    }
}

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const STATE_KNOWN: u32 = 0x2 | 0x4;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 1 << 5;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`, `RTN_LOCAL`.
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const NFT_NAT_DNAT: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The number of the register that begins at `slot`: whole 16-byte registers have their old names.
fn register(slot: usize) -> u32 {
    let number = if slot.is_multiple_of(4) { 1 + slot / 4 } else { 8 + slot };
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nest(1, |m| {
        m.text(1, name).nest(2, fill);
    });
}

fn encode_statement(list: &mut Message, statement: Statement) {
    match statement {
        Statement::Family(family) => {
            load_meta(list, META_NFPROTO, 0);
            compare(list, &[family_number(family)], false);
        }
        Statement::NotFromLoopback => {
            let mut name = [0; IFNAME_LEN];
            name[..2].copy_from_slice(b"lo");
            load_meta(list, META_IIFNAME, 0);
            compare(list, &name, true);
        }
        Statement::LoopbackDestination { family, negate } => {
            encode_statement(list, Statement::Family(family));
            match family {
                Family::V4 => {
                    load_payload(list, NETWORK_HEADER, 16, 1, 0);
                    compare(list, &[127], negate);
                }
                Family::V6 => {
                    load_payload(list, NETWORK_HEADER, 24, 16, 0);
                    compare(list, &std::net::Ipv6Addr::LOCALHOST.octets(), negate);
                }
            }
        }
        Statement::LoopbackSource => {
            encode_statement(list, Statement::Family(Family::V4));
            load_payload(list, NETWORK_HEADER, 12, 1, 0);
            compare(list, &[127], false);
        }
        Statement::LocalDestination => {
            expression(list, "fib", |m| {
                m.u32_be(1, register(0)).u32_be(2, FIB_ADDRTYPE).u32_be(3, FIB_DADDR);
            });
            compare(list, &RTN_LOCAL.to_ne_bytes(), false);
        }
        Statement::EstablishedOrRelated => connection_has(list, CT_STATE, STATE_KNOWN),
        Statement::DestinationTranslated => connection_has(list, CT_STATUS, STATUS_DNAT),
        Statement::InSet { fields, set, negate } => {
            load_fields(list, fields);
            expression(list, "lookup", |m| {
                m.text(1, set).u32_be(2, register(0));
                if negate {
                    m.u32_be(5, 1);
                }
            });
        }
        Statement::DnatByMap { family, fields, map } => {
            load_fields(list, fields);
            expression(list, "lookup", |m| {
                m.text(1, map).u32_be(2, register(0)).u32_be(3, register(0));
            });
            let port_slot = if family == Family::V4 { 1 } else { 4 };
            expression(list, "nat", |m| {
                m.u32_be(1, NFT_NAT_DNAT).u32_be(2, u32::from(family_number(family)));
                m.u32_be(3, register(0)).u32_be(5, register(port_slot));
            });
        }
        Statement::Masquerade => expression(list, "masq", |_| {}),
        Statement::Verdict(verdict) => encode_verdict(list, verdict),
    }
}

fn encode_verdict(list: &mut Message, verdict: Verdict) {
    expression(list, "immediate", |m| {
        m.u32_be(1, 0).nest(2, |m| {
            m.nest(2, |m| {
                match verdict {
                    Verdict::Accept => m.u32_be(1, NF_ACCEPT),
                    Verdict::Drop => m.u32_be(1, NF_DROP),
                    Verdict::Jump(chain) => m.u32_be(1, NFT_JUMP).text(2, chain),
                };
            });
        });
    });
}

fn load_meta(list: &mut Message, key: u32, slot: usize) {
    expression(list, "meta", |m| {
        m.u32_be(2, key).u32_be(1, register(slot));
    });
}

fn load_payload(list: &mut Message, base: u32, offset: u32, len: u32, slot: usize) {
    expression(list, "payload", |m| {
        m.u32_be(1, register(slot)).u32_be(2, base).u32_be(3, offset).u32_be(4, len);
    });
}

fn compare(list: &mut Message, value: &[u8], negate: bool) {
    expression(list, "cmp", |m| {
        m.u32_be(1, register(0)).u32_be(2, u32::from(negate)).nest(3, |m| {
            m.attr(1, value);
        });
    });
}

fn connection_has(list: &mut Message, key: u32, bits: u32) {
    expression(list, "ct", |m| {
        m.u32_be(2, key).u32_be(1, register(0));
    });
    expression(list, "bitwise", |m| {
        m.u32_be(1, register(0)).u32_be(2, register(0)).u32_be(3, 4);
        m.nest(4, |m| {
            m.attr(1, &bits.to_ne_bytes());
        });
        m.nest(5, |m| {
            m.attr(1, &[0; 4]);
        });
    });
    compare(list, &[0; 4], true);
}

/// Loads the parts of a key one after the other, each at the beginning of a slot.
fn load_fields(list: &mut Message, fields: &[Field]) {
    let mut slot = 0;
    for field in fields {
        let len = match field {
            Field::Iifname => {
                load_meta(list, META_IIFNAME, slot);
                IFNAME_LEN
            }
            Field::Oifname => {
                load_meta(list, META_OIFNAME, slot);
                IFNAME_LEN
            }
            Field::L4Proto => {
                load_meta(list, META_L4PROTO, slot);
                1
            }
            Field::ThDport => {
                load_payload(list, TRANSPORT_HEADER, 2, 2, slot);
                2
            }
            Field::Ip4Saddr => {
                load_payload(list, NETWORK_HEADER, 12, 4, slot);
                4
            }
            Field::Ip6Saddr => {
                load_payload(list, NETWORK_HEADER, 8, 16, slot);
                16
            }
            Field::Ip4Daddr => {
                load_payload(list, NETWORK_HEADER, 16, 4, slot);
                4
            }
            Field::Ip6Daddr => {
                load_payload(list, NETWORK_HEADER, 24, 16, slot);
                16
            }
        };
        slot += usize::div_ceil(len, SLOT);
    }
}

/// The number and the bytes that `nft` knows a type by.
fn type_of(data_type: DataType) -> (u32, u32) {
    match data_type {
        DataType::Ipv4Addr => (7, 4),
        DataType::Ipv6Addr => (8, 16),
        DataType::InetProto => (12, 1),
        DataType::InetService => (13, 2),
        DataType::Ifname => (41, 16),
    }
}

/// A concatenation's type: six bits for each part.
fn type_number(types: &[DataType]) -> u32 {
    types.iter().fold(0, |number, t| number << 6 | type_of(*t).0)
}

fn types_len(types: &[DataType]) -> u32 {
    match types {
        [one] => type_of(*one).1,
        several => several.iter().map(|t| type_of(*t).1.next_multiple_of(4)).sum(),
    }
}

fn encode_element(element: &Element) -> io::Result<(Vec<u8>, Vec<u8>)> {
    Ok((encode_values(&element.key)?, encode_values(&element.data)?))
}

fn encode_values(values: &[Value]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(40);
    for value in values {
        match value {
            Value::Ifname(name) if name.len() < IFNAME_LEN && !name.contains('\0') => {
                bytes.extend_from_slice(name.as_bytes());
                bytes.resize(bytes.len() + IFNAME_LEN - name.len(), 0);
            }
            Value::Ifname(name) => {
                let message = format!("{name:?} is not an interface name");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            Value::Addr(IpAddr::V4(ip)) => bytes.extend_from_slice(&ip.octets()),
            Value::Addr(IpAddr::V6(ip)) => bytes.extend_from_slice(&ip.octets()),
            Value::Protocol(number) => bytes.push(*number),
            Value::Port(port) => bytes.extend_from_slice(&port.to_be_bytes()),
        }
        if values.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(SLOT), 0);
        }
    }
    Ok(bytes)
}
