//! `/images`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Empty;
use crate::container::{GraphDriver, HealthConfig, StrSlice};
use crate::skip::zero;

/// One row of `GET /images/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers made from it; -1 = not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// `sha256:…`.
    pub id: String,
    /// Labels, `null` if none.
    pub labels: Option<BTreeMap<String, String>>,
    /// Always empty.
    pub parent_id: String,
    /// Digest references.
    pub repo_digests: Vec<String>,
    /// Tags.
    pub repo_tags: Vec<String>,
    /// Bytes shared with others; -1 = not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: i64,
}

/// Configuration inside an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// Not used for images.
    pub hostname: String,
    /// Not used for images.
    pub domainname: String,
    /// User.
    pub user: String,
    /// Not used for images.
    pub attach_stdin: bool,
    /// Not used for images.
    pub attach_stdout: bool,
    /// Not used for images.
    pub attach_stderr: bool,
    /// Ports.
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Not used for images.
    pub tty: bool,
    /// Not used for images.
    pub open_stdin: bool,
    /// Not used for images.
    pub stdin_once: bool,
    /// Environment.
    pub env: Option<Vec<String>>,
    /// Command.
    pub cmd: Option<StrSlice>,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows.
    #[serde(skip_serializing_if = "zero")]
    pub args_escaped: bool,
    /// Not used for images.
    pub image: String,
    /// Volumes.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory.
    pub working_dir: String,
    /// Entrypoint.
    pub entrypoint: Option<StrSlice>,
    /// Build triggers.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Stop signal.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// Shell of shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<StrSlice>,
}

/// `GET /images/{name}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:…`.
    pub id: String,
    /// Tags.
    pub repo_tags: Vec<String>,
    /// Digest references.
    pub repo_digests: Vec<String>,
    /// Always empty.
    pub parent: String,
    /// Free text.
    pub comment: String,
    /// RFC 3339; left out when the image does not say.
    #[serde(skip_serializing_if = "zero")]
    pub created: String,
    /// Builder's version.
    pub docker_version: String,
    /// Free text.
    pub author: String,
    /// Configuration.
    pub config: Option<ImageConfig>,
    /// `amd64`.
    pub architecture: String,
    /// `v8`.
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Bytes.
    pub size: i64,
    /// Where layers are.
    pub graph_driver: GraphDriver,
    /// Layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// Local facts.
    pub metadata: ImageMetadata,
    /// The manifest it came with (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
}

/// Layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Diff ids, lowest first.
    #[serde(skip_serializing_if = "zero")]
    pub layers: Vec<String>,
}

/// Local facts of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// RFC 3339.
    pub last_tag_time: String,
}

/// `GET /distribution/{name}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// What the name stands for.
    pub descriptor: Descriptor,
    /// The platforms that can be had.
    pub platforms: Vec<OciPlatform>,
}

/// One row of `GET /images/search`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// Stars.
    pub star_count: i64,
    /// One of Docker's own.
    pub is_official: bool,
    /// Name.
    pub name: String,
    /// Always false since Docker Hub no longer tells.
    pub is_automated: bool,
    /// What it says of itself.
    pub description: String,
}

/// An OCI descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
}

/// An OCI platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OciPlatform {
    /// `amd64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v8`.
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
}

/// One row of `GET /images/{name}/history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HistoryItem {
    /// Free text.
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Command.
    pub created_by: String,
    /// Image id or `<missing>`.
    pub id: String,
    /// Bytes.
    pub size: i64,
    /// Tags, `null` if none.
    pub tags: Option<Vec<String>>,
}

/// One thing that `DELETE /images/{name}` did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeleteItem {
    /// Image or layer that is gone.
    #[serde(skip_serializing_if = "zero")]
    pub deleted: String,
    /// Name that is gone.
    #[serde(skip_serializing_if = "zero")]
    pub untagged: String,
}

/// Answer of image prune.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImagePrune {
    /// What was done, `null` if nothing.
    pub images_deleted: Option<Vec<DeleteItem>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One line of a stream of progress (pull, push, load, build).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonMessage {
    /// Text of a build or load.
    #[serde(skip_serializing_if = "zero")]
    pub stream: String,
    /// What is being done.
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// How far it is.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// How far it is, drawn; clients since 1.24 draw themselves.
    #[serde(skip_serializing_if = "zero")]
    pub progress: String,
    /// Of which layer.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    /// Why it failed.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same as text.
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
    /// For programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(skip_serializing_if = "zero")]
    pub current: i64,
    /// Bytes in all.
    #[serde(skip_serializing_if = "zero")]
    pub total: i64,
    /// Do not show numbers.
    #[serde(rename = "hidecounts", skip_serializing_if = "zero")]
    pub hide_counts: bool,
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// Code, if any.
    #[serde(skip_serializing_if = "zero")]
    pub code: i32,
    /// Sentence.
    pub message: String,
}

/// Answer of commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CommitResponse {
    /// `sha256:…`.
    pub id: String,
}
