//! `/volumes`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::skip::zero;

/// Body of volume create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeCreate {
    /// Swarm cluster volumes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_volume_spec: Option<serde_json::Value>,
    /// Driver, empty = local.
    #[serde(skip_serializing_if = "zero")]
    pub driver: String,
    /// Its options.
    #[serde(skip_serializing_if = "zero")]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// Name, empty = one is made up.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Volume {
    /// RFC 3339.
    #[serde(skip_serializing_if = "zero")]
    pub created_at: String,
    /// Driver.
    pub driver: String,
    /// Labels, `null` if none were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Path on the host.
    pub mountpoint: String,
    /// Name.
    pub name: String,
    /// Driver options, `null` if none were given.
    pub options: Option<BTreeMap<String, String>>,
    /// `local`.
    pub scope: String,
    /// Use, in `system df` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsage>,
}

/// Use of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeUsage {
    /// Containers that use it.
    pub ref_count: i64,
    /// Bytes, -1 = not known.
    pub size: i64,
}

/// Answer of `GET /volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeList {
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Things to know.
    pub warnings: Option<Vec<String>>,
}

/// Answer of volume prune.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumePrune {
    /// Names.
    pub volumes_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}
