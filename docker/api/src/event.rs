//! `GET /events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::skip::zero;

/// One event, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Older name of `Action`; container and image events only.
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// Older name of `Actor.ID`.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    /// The image of a container event, older form.
    #[serde(skip_serializing_if = "zero")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `daemon`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die`, `exec_create: sh -c …`.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`.
    #[serde(skip_serializing_if = "zero")]
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// The object of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Actor {
    /// Id or name.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels, image, name, exitCode and the like.
    pub attributes: BTreeMap<String, String>,
}
