//! The image configuration as OCI and docker write it, read into types.
//!
//! It is attacker-influenced content: nothing of it (labels, annotations, environment) becomes engine control data.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};

/// The most bytes that a configuration may have.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// What a container of the image runs with by default (OCI image-spec, `config`; docker adds the last four).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers; parsed where a container is made.
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// `8080/tcp`.
    #[serde(deserialize_with = "key_set", serialize_with = "key_set_out", skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// `NAME=value`; entries without a name or without `=` are dropped when read.
    #[serde(deserialize_with = "environment")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The arguments, or the program if there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that get a volume of their own.
    #[serde(deserialize_with = "key_set", serialize_with = "key_set_out", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Where the program starts.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Free labels.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker: how to probe health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: build triggers.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker: the shell of the shell form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Docker on Windows only; kept so that it is shown as it came.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
}

/// Docker's health probe; times in nanoseconds, 0 for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Between probes.
    pub interval: i64,
    /// Of one probe.
    pub timeout: i64,
    /// In which failures do not count.
    pub start_period: i64,
    /// Between probes in the start period.
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
}

/// One step of how the image was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Its maker.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers, in order from the lowest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The digests of the uncompressed tars.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<LayerId>,
}

/// A whole configuration document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageDocument {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Free text.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// GOARCH.
    #[serde(deserialize_with = "null_is_default")]
    pub architecture: String,
    /// GOOS.
    #[serde(deserialize_with = "null_is_default")]
    pub os: String,
    /// `v7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Docker: free text.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Docker: the version that built it.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// What containers run with.
    #[serde(deserialize_with = "null_is_default")]
    pub config: ImageConfig,
    /// Its layers.
    #[serde(deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

impl ImageDocument {
    /// Reads a configuration blob.
    ///
    /// # Errors
    /// `InvalidArgument` that names `digest` and the reason when it is not an image configuration.
    pub fn parse(digest: Digest, bytes: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format!("image configuration {digest}: {why}"));
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(wrong("it is not a JSON object".to_owned()));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        if !document.rootfs.kind.is_empty() && document.rootfs.kind != "layers" {
            return Err(wrong(format!("rootfs type {:?} is not \"layers\"", document.rootfs.kind)));
        }
        Ok(document)
    }
    /// When it was made, if it says so in RFC 3339.
    pub fn created_at(&self) -> Option<jiff::Timestamp> {
        self.created.as_deref().and_then(|text| text.parse().ok())
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn key_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(map.into_keys().collect())
}

fn key_set_out<S: serde::Serializer>(keys: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keys.iter().map(|k| (k, serde_json::Map::new())))
}

/// An entry without `=` would make the runtime look the name up in its own environment; it is dropped here.
fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut entries = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    entries.retain(|e| e.find('=').is_some_and(|at| at > 0) && !e.contains('\0'));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImageDocument> {
        ImageDocument::parse(Digest::of(text.as_bytes()), text.as_bytes())
    }

    #[test]
    fn nulls_stand_for_nothing() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null,
            "ExposedPorts":{"80/tcp":{}},"OnBuild":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let document = parse(text).unwrap();
        assert_eq!(document.config.exposed_ports, ["80/tcp"]);
        assert!(document.config.cmd.is_none() && document.rootfs.diff_ids.is_empty());
        let again: ImageDocument = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn environment_entries_without_a_value_are_dropped() {
        let text = r#"{"config":{"Env":["A=1","SECRET","=x","B="]}}"#;
        assert_eq!(parse(text).unwrap().config.env, ["A=1", "B="]);
    }

    #[test]
    fn a_bad_diff_id_and_a_bad_rootfs_type_are_refused() {
        assert!(parse(r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#).is_err());
        assert!(parse(r#"{"rootfs":{"type":"squashfs","diff_ids":[]}}"#).is_err());
        assert!(parse("[]").is_err());
    }
}
