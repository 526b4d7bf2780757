//! An image as files: the OCI layout that skopeo reads, and docker's own archive.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Compression, Image, Layer, digest_of};

/// The file name of a digest's blob.
fn hex_part(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// Compresses a tar for travel and names its media type.
fn packed(tar: &[u8], compression: Compression) -> io::Result<(Vec<u8>, &'static str)> {
    Ok(match compression {
        Compression::None => (tar.to_vec(), "application/vnd.oci.image.layer.v1.tar"),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar)?;
            (encoder.finish()?, "application/vnd.oci.image.layer.v1.tar+gzip")
        }
        Compression::Zstd => (zstd::encode_all(tar, 1)?, "application/vnd.oci.image.layer.v1.tar+zstd"),
    })
}

/// Writes `image` as an OCI image layout with one tag.
pub fn write_oci_layout(image: &Image, dir: &Path, tag: &str) -> io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: &str| -> io::Result<Value> {
        let digest = digest_of(bytes);
        fs::write(blobs.join(hex_part(&digest)), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    };
    let mut layers = Vec::new();
    for (layer, compression) in &image.layers {
        let (bytes, media_type) = packed(&layer.tar(), *compression)?;
        layers.push(put(&bytes, media_type)?);
    }
    let config = put(&image.config_json(), "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let mut entry = put(&serde_json::to_vec(&manifest)?, "application/vnd.oci.image.manifest.v1+json")?;
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    fs::write(dir.join("index.json"), serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] }))?)?;
    fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// `image` as `docker save` writes it: manifest.json, the configuration, and a bare tar for each layer.
pub fn docker_archive(image: &Image, name: &str) -> Vec<u8> {
    let config = image.config_json();
    let config_name = format!("{}.json", hex_part(&digest_of(&config)));
    let mut archive = Layer::new().file(&config_name, &config);
    let mut names = Vec::new();
    for (n, (layer, _)) in image.layers.iter().enumerate() {
        let name = format!("{n:03}/layer.tar");
        archive = archive.file(&name, &layer.tar());
        names.push(name);
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
    archive.file("manifest.json", &serde_json::to_vec(&manifest).expect("manifest")).tar()
}
