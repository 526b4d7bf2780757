//! What is to be built, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, ImageId, LayerId};
use crate::image::{ImageConfig, Platform, Reference};
use crate::spec::Resources;

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file in one of the client's directories.
    File {
        /// The directory: `context` or `dockerfile`.
        source: String,
        /// The path in it.
        name: String,
    },
    /// This text.
    Text(String),
}

/// What a name in `FROM` or `--from` stands for instead of a stage or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of the client.
    Local(String),
    /// An image.
    Image(String),
    /// The result of an earlier build, by the image that it made.
    Build(ImageId),
}

/// Which steps are done again although the cache has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheUse {
    /// None.
    #[default]
    All,
    /// All of them.
    Nothing,
    /// Those of these stages.
    NotFor(BTreeSet<String>),
}

/// What a build may do beyond the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
}

/// What is made of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Export {
    /// An image, under the tags.
    #[default]
    Image,
    /// Its files: see [`Built::files`]. No image is kept.
    Files,
    /// Nothing: the steps are done and cached.
    Nothing,
}

/// A build as asked for.
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// Stage to end with, by name or number; `None` = the last one.
    pub target: Option<String>,
    /// `--build-arg`; the value is absent when the client has none for the name.
    pub args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub tags: Vec<Reference>,
    /// Platform wanted; `None` = this machine's.
    pub platform: Option<Platform>,
    /// Which steps are done again.
    pub cache: CacheUse,
    /// Ask registries for newer base images.
    pub pull: bool,
    /// Images whose history and layers count as cached, if they are here.
    pub cache_from: Vec<String>,
    /// Network of RUN: `default`, `none`, `host`, or a network's name; empty = default.
    pub network: String,
    /// `name:address` lines for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Size of /dev/shm in bytes; 0 = 64 MiB.
    pub shm_bytes: u64,
    /// Limits of RUN, `ulimits` among them.
    pub resources: Resources,
    /// Parent cgroup of RUN; empty = the engine's default.
    pub cgroup_parent: String,
    /// What names in `FROM` and `--from` stand for.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Unix seconds that take the place of every time in the result.
    pub source_date_epoch: Option<i64>,
    /// What is allowed.
    pub allow: BTreeSet<Entitlement>,
    /// What is made of it.
    pub export: Export,
    /// Do stages that the target does not need too, one after another: the classic builder's way.
    pub classic: bool,
}

impl Default for DockerfileSource {
    fn default() -> Self {
        Self::File { source: "context".to_owned(), name: "Dockerfile".to_owned() }
    }
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The image, by the digest of its configuration.
    pub image: ImageId,
    /// Its manifest; `None` when no image was kept.
    pub manifest: Option<Digest>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its whole configuration document as JSON.
    pub document: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Names that it got.
    pub tags: Vec<Reference>,
    /// Its files as a tar, for [`Export::Files`].
    pub files: Option<BuiltFiles>,
}

/// The files of a result, as a tar.
pub struct BuiltFiles(pub crate::ArchiveStream);

impl std::fmt::Debug for BuiltFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BuiltFiles")
    }
}

/// Which cached results go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneCache {
    /// Also those that an image still has.
    pub all: bool,
    /// Only those not used for this long.
    pub unused_for: Option<Duration>,
    /// Keep this many bytes, the most recently used first.
    pub keep_bytes: Option<u64>,
    /// Only these records (prefixes of ids).
    pub ids: Vec<String>,
    /// Only this kind: `regular`, `exec.cachemount`, `source.local`.
    pub kinds: Vec<String>,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrunedCache {
    /// Ids of the records.
    pub ids: Vec<String>,
    /// Bytes that became free.
    pub bytes: u64,
}

/// One cached result, as `docker system df -v` and `buildx du` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecordView {
    /// Its id.
    pub id: String,
    /// `regular`, `exec.cachemount`.
    pub kind: String,
    /// The step.
    pub description: String,
    /// Ids of those that it stands on.
    pub parents: Vec<String>,
    /// A build uses it now.
    pub in_use: bool,
    /// An image has it too.
    pub shared: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When it was last used.
    pub last_used: Option<jiff::Timestamp>,
    /// How often it was used.
    pub uses: u64,
}

impl BuildSpec {
    /// The predefined arguments of `FROM` lines: `BUILDPLATFORM`, `TARGETARCH` and their kin.
    #[must_use]
    pub fn platform_args(&self) -> BTreeMap<String, String> {
        let host = Platform::host();
        let target = self.platform.clone().unwrap_or_else(|| host.clone());
        let of = |side: &str, platform: &Platform| {
            [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", platform.variant.clone().unwrap_or_default()),
            ]
            .map(|(name, value)| (format!("{side}{name}"), value))
        };
        of("BUILD", &host).into_iter().chain(of("TARGET", &target)).collect()
    }
}
