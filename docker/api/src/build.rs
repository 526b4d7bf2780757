//! `/build` and its cache.

use serde::{Deserialize, Serialize};

use crate::skip::zero;

/// The answer of `POST /build/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildCachePrune {
    /// Ids of what went.
    pub caches_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One row of the cache in `GET /system/df`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildCache {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Before 1.42.
    #[serde(skip_serializing_if = "zero")]
    pub parent: String,
    /// Since 1.42.
    #[serde(skip_serializing_if = "zero")]
    pub parents: Vec<String>,
    /// `regular`, `exec.cachemount`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The step.
    pub description: String,
    /// A build uses it now.
    pub in_use: bool,
    /// An image has it too.
    pub shared: bool,
    /// Bytes.
    pub size: i64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub last_used_at: Option<String>,
    /// Times it was used.
    pub usage_count: i64,
}

/// What a build says of the image that it has made, in `aux`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildResult {
    /// The image's id.
    #[serde(rename = "ID")]
    pub id: String,
}
