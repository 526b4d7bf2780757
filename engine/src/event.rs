//! What has happened, in order: events with sequence numbers, a bounded ring for replay, and followers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::Owner;

/// Kinds of objects that have events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A container.
    Container,
    /// A sandbox (pod).
    Sandbox,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// The daemon itself.
    Daemon,
}

/// Something that has happened, after it was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event, also across restarts of the daemon.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Kind of the object.
    pub kind: ObjectKind,
    /// docker's action word: `create`, `start`, `die`, `exec_create: sh -c …`, `health_status: healthy`, `connect`, …
    pub action: String,
    /// Id (or name for volumes, reference for images).
    pub id: String,
    /// The object's owner, if it has one.
    pub owner: Option<Owner>,
    /// docker's actor attributes: labels, image, name, exitCode, signal, execDuration, container, type, …
    pub attributes: BTreeMap<String, String>,
}
