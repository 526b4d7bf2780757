//! One nftables table of ours: a model of it, its text as `nft` writes it, and its way into the kernel.
//!
//! A table is replaced, or elements of its sets are added and taken away, in one transaction over netlink: packets see
//! the rules of before or those of after. No program is executed.

mod encode;
mod model;
mod text;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use encode::{Encoder, OWNER_FLAGS};
pub use model::{
    Chain, ChainHook, DataType, Element, Family, Field, Hook, HookKind, Rule, Set, Statement, Table, Update, Value,
    Verdict,
};

use crate::netlink::{Answer, Attributes, Protocol, Socket, netlink_errno};

/// `NFNLGRP_NFTABLES` as a mask.
const GROUP_NFTABLES: u32 = 1 << 6;
/// Length of `nfgenmsg`.
const NFGEN_LEN: usize = 4;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`: the table's name in every notification.
const NFTA_TABLE: u16 = 1;

/// The one writer of a table.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    encoder: Encoder,
    owned: Ownership,
}

/// Whether the kernel keeps other programs' hands off the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// Not asked for, or this kernel (before 6.9) has no tables that outlive their owner.
    None,
    /// Asked for; the next replacement tries.
    Wanted,
}

impl Nftables {
    /// For the table `table` (family `inet`) in the calling thread's network namespace. With `owner`, the table is
    /// made so that no other program can flush or change it while this socket is open, and that it stays when this
    /// process ends; kernels without that give an ordinary table.
    ///
    /// # Errors
    /// When the kernel has no nfnetlink or the process may not use it.
    pub fn open(table: &str, owner: bool) -> io::Result<Self> {
        let owned = if owner { Ownership::Wanted } else { Ownership::None };
        Ok(Self { socket: Socket::open(Protocol::Netfilter, 0)?, encoder: Encoder::new(table), owned })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Puts `table` in force in place of what is there, in one transaction.
    ///
    /// # Errors
    /// The kernel's refusal; the old table stays then.
    pub fn replace(&mut self, table: &Table) -> io::Result<()> {
        if self.owned == Ownership::Wanted {
            match self.replace_with_flags(table, OWNER_FLAGS) {
                Err(error) if matches!(netlink_errno(&error), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
                    self.owned = Ownership::None;
                }
                other => return other,
            }
        }
        self.replace_with_flags(table, 0)
    }

    fn replace_with_flags(&mut self, table: &Table, flags: u32) -> io::Result<()> {
        let create = self.encoder.table(table, flags)?;
        let mut messages = vec![self.encoder.remove_table()];
        messages.extend(create.iter().cloned());
        let (begin, end) = self.encoder.brackets();
        match self.socket.transaction(&begin, &messages, &end) {
            // There was none to remove.
            Err(error) if netlink_errno(&error) == Some(libc::ENOENT) => self.socket.transaction(&begin, &create, &end),
            other => other,
        }
    }

    /// Adds and removes elements of sets and maps, all or none.
    ///
    /// # Errors
    /// `ENOENT` when the table, a set or an element to remove is missing.
    pub fn update(&mut self, updates: &[Update]) -> io::Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        let messages = self.encoder.updates(updates)?;
        let (begin, end) = self.encoder.brackets();
        self.socket.transaction(&begin, &messages, &end)
    }

    /// Removes the table; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove(&mut self) -> io::Result<()> {
        let (begin, end) = self.encoder.brackets();
        match self.socket.transaction(&begin, &[self.encoder.remove_table()], &end) {
            Err(error) if netlink_errno(&error) == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }
}

/// Sees every change of a table that another program makes.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    table: String,
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

impl Monitor {
    /// Watches `table` in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has no nfnetlink or the process may not use it.
    pub fn open(table: &str) -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter, GROUP_NFTABLES)?, table: table.to_owned() })
    }

    /// Reads one datagram of notifications; answers whether a socket other than `own_port` touched the table.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to read. A lost notification counts as a change.
    pub fn changed_by_others(&mut self, own_port: u32) -> io::Result<bool> {
        let (mut changed, table) = (false, self.table.as_str());
        let read = self.socket.notifications(|answer| {
            changed |= answer.port != own_port && concerns(&answer, table);
            Ok(())
        });
        match read {
            Err(error) if netlink_errno(&error) == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
            Ok(()) => Ok(changed),
        }
    }
}

fn concerns(answer: &Answer<'_>, table: &str) -> bool {
    let is_generation = answer.kind & 0xff == 15;
    let attributes = Attributes::after(answer.payload, NFGEN_LEN);
    !is_generation && attributes.find_text(NFTA_TABLE).as_deref() == Some(table)
}
