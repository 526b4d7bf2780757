//! PURE. Manifests and indexes, read strictly: one document has one meaning, whoever reads it.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::id::Digest;

use super::platform::Platform;

/// Bytes of a manifest or index (the limit that registries themselves set).
pub(crate) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Entries of one index that are looked at.
const INDEX_ENTRIES_MAX: usize = 10_000;
/// Indexes inside of indexes.
pub(crate) const INDEX_DEPTH_MAX: usize = 4;
/// Bytes of an image configuration.
pub(crate) const CONFIG_BYTES_MAX: u64 = super::config::CONFIG_BYTES_MAX;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const SCHEMA1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1+";
/// Attestations ride in an index beside the images they are about.
const ATTESTATION: (&str, &str) = ("vnd.docker.reference.type", "attestation-manifest");

/// What is asked for, best first.
pub(crate) const ACCEPTED_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A reference to a blob or manifest. Foreign `urls` are not read: blobs come from the registry that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<DescriptorPlatform>,
    #[serde(default)]
    pub(crate) annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct DescriptorPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl DescriptorPlatform {
    /// The platform as it is written, attestations' `unknown/unknown` too.
    pub(crate) fn stated(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    fn platform(&self) -> Option<Platform> {
        let named = !self.os.is_empty() && !self.architecture.is_empty() && self.os != "unknown";
        named.then(|| Platform::new(&self.os, &self.architecture, self.variant.as_deref()))
    }
}

/// What a document turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    Image(ImageManifest),
    Index(Vec<Descriptor>),
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageManifest {
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    // Schema 1 only.
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Reads a document that came as `content_type` (empty if nothing was said).
///
/// # Errors
/// `InvalidArgument` with the reason: an unknown type, a type that its content contradicts, schema 1, both an image and
/// an index, too many layers.
pub(crate) fn parse(bytes: &[u8], content_type: &str, layers_max: usize) -> Result<Manifest> {
    let wrong = |why: String| Error::invalid(format!("invalid manifest: {why}"));
    let document: Document = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    let stated = document.media_type.as_deref().unwrap_or("");
    if document.schema_version == Some(1) || document.fs_layers.is_some() || content_type.starts_with(SCHEMA1_PREFIX) {
        return Err(wrong(
            "docker image format v1 (schema 1) is not supported; push the image again with a newer tool".into(),
        ));
    }
    if document.schema_version != Some(2) {
        return Err(wrong("schemaVersion is not 2".into()));
    }
    let specific = |t: &str| [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&t);
    if !stated.is_empty() && specific(content_type) && stated != content_type {
        return Err(wrong(format!("it came as {content_type} but calls itself {stated}")));
    }
    let media_type = match (document.manifests.is_some(), document.config.is_some() || document.layers.is_some()) {
        (true, true) => return Err(wrong("it has both manifests and layers".into())),
        (false, false) => return Err(wrong("it has neither manifests nor layers".into())),
        // A type that is missing is told by the content; one that is there must agree with it.
        (true, false) => agreed(stated, content_type, [OCI_INDEX, DOCKER_INDEX]).map_err(wrong)?,
        (false, true) => agreed(stated, content_type, [OCI_MANIFEST, DOCKER_MANIFEST]).map_err(wrong)?,
    };
    if let Some(manifests) = document.manifests {
        if manifests.len() > INDEX_ENTRIES_MAX {
            return Err(wrong(format!(
                "an index of {} entries; at most {INDEX_ENTRIES_MAX} are read",
                manifests.len()
            )));
        }
        return Ok(Manifest::Index(manifests));
    }
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(wrong("it lacks config or layers".into()));
    };
    if layers.len() > layers_max {
        return Err(wrong(format!("{} layers; at most {layers_max} are possible", layers.len())));
    }
    if !config.media_type.is_empty() && ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(wrong(format!("it is no container image: its configuration is {:?}", config.media_type)));
    }
    if config.size > CONFIG_BYTES_MAX {
        return Err(wrong(format!("a configuration of {} bytes; at most {CONFIG_BYTES_MAX} are read", config.size)));
    }
    if let Some(layer) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        return Err(wrong(format!("layer {} has the unknown type {:?}", layer.digest, layer.media_type)));
    }
    Ok(Manifest::Image(ImageManifest { media_type, config, layers }))
}

/// What a manifest consists of, whatever it is for (attestations are manifests with other layers): its configuration and
/// its layers. Nothing for an index.
///
/// # Errors
/// `InvalidArgument` when it is no manifest.
pub(crate) fn parts(bytes: &[u8]) -> Result<Vec<Descriptor>> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|e| Error::invalid(format!("invalid manifest: {e}")))?;
    Ok(document.config.into_iter().chain(document.layers.unwrap_or_default()).collect())
}

fn agreed(stated: &str, content_type: &str, allowed: [&str; 2]) -> Result<String, String> {
    let claim = if stated.is_empty() { content_type } else { stated };
    if allowed.contains(&claim) {
        return Ok(claim.to_owned());
    }
    let vague = ["", "application/json", "text/plain", "application/octet-stream"];
    if stated.is_empty() && vague.contains(&content_type) {
        return Ok(allowed[0].to_owned());
    }
    Err(format!("type {claim:?} does not fit its content"))
}

/// Layers that can be unpacked; what the compression is, the bytes themselves say.
fn is_layer(media_type: &str) -> bool {
    let oci = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"));
    let docker = media_type
        .strip_prefix("application/vnd.docker.image.rootfs.diff.tar")
        .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"));
    oci.is_some_and(|rest| matches!(rest, "" | "+gzip" | "+zstd"))
        || docker.is_some_and(|rest| matches!(rest, "" | ".gzip" | ".zstd"))
}

/// The entries of an index that may be the image for `wanted`, best first. An entry without a platform is a last resort.
pub(crate) fn candidates(entries: &[Descriptor], wanted: &Platform) -> Vec<Descriptor> {
    let is_attestation = |entry: &Descriptor| {
        entry.annotations.as_ref().is_some_and(|a| a.get(ATTESTATION.0).is_some_and(|value| value == ATTESTATION.1))
    };
    let is_manifest = |entry: &Descriptor| {
        [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX, ""].contains(&entry.media_type.as_str())
    };
    let mut ranked: Vec<(usize, &Descriptor)> = entries
        .iter()
        .filter(|entry| is_manifest(entry) && !is_attestation(entry))
        .filter_map(|entry| match &entry.platform {
            None => Some((usize::MAX, entry)),
            Some(platform) => Some((wanted.rank(&platform.platform()?)?, entry)),
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn image(media_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{media_type}"config":{{"mediaType":"{OCI_CONFIG}","digest":"{D}","size":3}},
            "layers":[{{"mediaType":"{OCI_LAYER}+gzip","digest":"{D}","size":9,"urls":["http://evil/x"]}}]}}"#
        )
    }

    fn refused(text: &str, content_type: &str) -> String {
        parse(text.as_bytes(), content_type, 100).unwrap_err().to_string()
    }

    #[test]
    fn type_and_content_must_agree() {
        assert!(matches!(parse(image("").as_bytes(), OCI_MANIFEST, 100), Ok(Manifest::Image(_))));
        assert!(matches!(parse(image("").as_bytes(), "", 100), Ok(Manifest::Image(_))));
        assert!(refused(&image(""), OCI_INDEX).contains("does not fit"));
        let stated = image(&format!("\"mediaType\":\"{DOCKER_MANIFEST}\","));
        assert!(refused(&stated, OCI_MANIFEST).contains("calls itself"));
        assert!(parse(stated.as_bytes(), "application/json", 100).is_ok());
        let both = image("").replace("\"layers\"", "\"manifests\":[],\"layers\"");
        assert!(refused(&both, OCI_MANIFEST).contains("both"));
        assert!(refused("{\"schemaVersion\":2}", "").contains("neither"));
        assert!(refused("{\"schemaVersion\":1,\"fsLayers\":[]}", "").contains("schema 1"));
        assert!(refused(&image(""), "application/vnd.docker.distribution.manifest.v1+prettyjws").contains("schema 1"));
        assert!(refused(&image("").replace("layer.v1.tar+gzip", "layer.v1.tar+exe"), "").contains("unknown type"));
        assert!(
            refused(&image("").replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json"), "")
                .contains("no container image")
        );
        assert!(parse(image("").as_bytes(), "", 0).unwrap_err().message().contains("1 layers"));
        assert!(refused(&image("").replace(D, "sha256:../../../etc/passwd"), "").contains("digest"));
    }

    #[test]
    fn the_right_entry_of_an_index_is_chosen() {
        let entry = |digit: char, platform: &str, extra: &str| {
            let digest = D.replace('f', &digit.to_string());
            format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":3{platform}{extra}}}"#)
        };
        let of = |os: &str, arch: &str| format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#);
        let attest = format!(r#","annotations":{{"{}":"{}"}}"#, ATTESTATION.0, ATTESTATION.1);
        let entries = [
            entry('1', "", ""),
            entry('2', &of("unknown", "unknown"), ""),
            entry('3', &of("linux", "amd64"), &attest),
            entry('4', &of("linux", "386"), ""),
            entry('5', &of("linux", "x86_64"), ""),
            entry('6', &of("", ""), ""),
            entry('7', &of("windows", "amd64"), ""),
        ];
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Manifest::Index(entries) = parse(text.as_bytes(), OCI_INDEX, 100).unwrap() else { panic!("no index") };
        let chosen = candidates(&entries, &"linux/amd64".parse().unwrap());
        let digits: Vec<char> = chosen.iter().map(|d| d.digest.hex().chars().next().unwrap()).collect();
        assert_eq!(digits, ['5', '4', '1']);
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(text in "\\PC{0,200}", kind in "[a-z/+.]{0,30}") {
            let _ = parse(text.as_bytes(), &kind, 10);
        }
    }
}
