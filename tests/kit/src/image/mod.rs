//! Images made by the test itself: layers byte by byte, so that hostile and odd entries are possible.

pub mod archive;
pub mod layer;
pub mod sample;

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use layer::Layer;

/// How a layer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A bare tar.
    None,
    /// gzip, as nearly every image has it.
    Gzip,
    /// zstd, OCI 1.1.
    Zstd,
}

/// An image: layers, and the `config` object of its configuration.
#[derive(Debug, Clone)]
pub struct Image {
    /// The layers, lowest first.
    pub layers: Vec<(Layer, Compression)>,
    /// `Cmd`, `Env`, `Entrypoint` and so on.
    pub config: Value,
}

impl Image {
    /// An image without layers whose command is `sh`.
    pub fn empty() -> Self {
        let config = json!({
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        Self { layers: Vec::new(), config }
    }

    /// Adds a gzip layer.
    #[must_use]
    pub fn with(self, layer: Layer) -> Self {
        self.with_compressed(layer, Compression::Gzip)
    }

    /// Adds a layer in the given compression.
    #[must_use]
    pub fn with_compressed(mut self, layer: Layer, compression: Compression) -> Self {
        self.layers.push((layer, compression));
        self
    }

    /// Sets a key of the image's configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// The whole image configuration blob.
    pub fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|(layer, _)| digest_of(&layer.tar())).collect();
        let history: Vec<Value> = (0..self.layers.len())
            .map(|n| json!({ "created": "2024-01-01T00:00:00Z", "created_by": format!("layer {n}") }))
            .collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        serde_json::to_vec(&config).expect("image config")
    }

    /// Writes an OCI image layout whose only image has the tag `tag`.
    pub fn write_oci(&self, dir: &Path, tag: &str) {
        archive::write_oci_layout(self, dir, tag).expect("write an OCI layout");
    }

    /// A `docker save` archive naming the image `name` (`repository:tag`).
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        archive::docker_archive(self, name)
    }
}

/// `sha256:<hex>` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
