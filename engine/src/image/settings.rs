//! What the image part is configured with: every path and limit of it, in one place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Paths, mirrors and limits of images, content and layers.
#[derive(Debug, Clone)]
pub struct ImageSettings {
    /// The OCI image layout of the content store.
    pub content_root: PathBuf,
    /// The directory of layers and writable layers.
    pub snapshots_root: PathBuf,
    /// Directory of `<registry>/hosts.toml` files, as containerd reads them; `None` for none.
    pub hosts_dir: Option<PathBuf>,
    /// Mirrors tried in order before the registry itself: `docker.io` -> `["https://mirror.example"]`.
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Registries (`host` or `host:port`) that may be spoken to by plain HTTP, or by TLS without a known authority.
    pub insecure_registries: Vec<String>,
    /// Layers of one pull that are downloaded and unpacked at the same time.
    pub layers_parallel_max: usize,
    /// Layers downloaded and unpacked at the same time by all pulls together.
    pub flights_max: usize,
    /// Bytes of one compressed layer.
    pub layer_bytes_max: u64,
    /// Bytes of one layer when unpacked (the tar stream, not the disk).
    pub layer_unpacked_bytes_max: u64,
    /// Layers of one image. Overlayfs takes 500 in one mount.
    pub layers_max: usize,
    /// A registry that sends nothing for this long is given up (and the request tried again).
    pub stall_timeout: Duration,
    /// A connection that is not up within this time is given up.
    pub connect_timeout: Duration,
    /// Attempts of one request before its error is returned.
    pub attempts_max: u32,
    /// The longest `Retry-After` that is obeyed; a registry that asks for more is waited for this long only.
    pub retry_after_max: Duration,
    /// Downloads left unfinished are kept this long for a later pull to resume.
    pub ingest_keep: Duration,
    /// Time between sweeps of what nothing needs.
    pub sweep_every: Duration,
    /// Layers of a pull that did not finish are kept this long.
    pub lease_keep: Duration,
}

impl ImageSettings {
    /// The defaults, with all data under `root` (`/var/lib/gantry`).
    pub fn under(root: &std::path::Path) -> Self {
        Self {
            content_root: root.join("content"),
            snapshots_root: root.join("snapshots"),
            hosts_dir: None,
            registry_mirrors: BTreeMap::new(),
            insecure_registries: Vec::new(),
            layers_parallel_max: 4,
            flights_max: 8,
            layer_bytes_max: 64 << 30,
            layer_unpacked_bytes_max: 256 << 30,
            layers_max: 400,
            stall_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            attempts_max: 5,
            retry_after_max: Duration::from_secs(60),
            ingest_keep: Duration::from_secs(24 * 3600),
            sweep_every: Duration::from_secs(600),
            lease_keep: Duration::from_secs(3600),
        }
    }
}
