//! docker's contexts: named endpoints in `~/.docker/contexts`, in the layout of docker's client, which shares them.
//!
//! `meta/SHA256(NAME)/meta.json` says where the daemon is, `tls/SHA256(NAME)/docker/` has its `ca.pem`, `cert.pem` and
//! `key.pem`. The context `default` is not stored: it is what `-H` and `DOCKER_HOST` say.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, reason};

/// The context that is not stored.
pub(crate) const DEFAULT: &str = "default";
/// The files of a TLS endpoint.
pub(crate) const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];
/// A larger file is none of a context's.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// `meta.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    /// Free words; `Description` is docker's.
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    pub(crate) endpoints: BTreeMap<String, EndpointMetadata>,
}

/// One endpoint of a context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointMetadata {
    #[serde(rename = "Host", skip_serializing_if = "String::is_empty")]
    pub(crate) host: String,
    #[serde(rename = "SkipTLSVerify")]
    pub(crate) skip_tls_verify: bool,
}

impl Metadata {
    /// A context with docker's endpoint.
    pub(crate) fn new(name: &str, description: &str, endpoint: EndpointMetadata) -> Self {
        let mut made =
            Self { name: name.to_owned(), endpoints: [("docker".to_owned(), endpoint)].into(), ..Self::default() };
        made.describe(description);
        made
    }

    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(|text| text.as_str()).unwrap_or_default()
    }

    pub(crate) fn describe(&mut self, description: &str) {
        match description {
            "" => self.metadata.remove("Description"),
            text => self.metadata.insert("Description".to_owned(), text.into()),
        };
    }

    /// docker's endpoint.
    pub(crate) fn docker(&self) -> EndpointMetadata {
        self.endpoints.get("docker").cloned().unwrap_or_default()
    }
}

/// The folder of contexts.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// That of a folder of configuration.
    pub(crate) fn of(configuration: &Path) -> Self {
        Self { folder: configuration.join("contexts") }
    }

    /// Where `meta.json` of a context is.
    pub(crate) fn meta_folder(&self, name: &str) -> PathBuf {
        self.folder.join("meta").join(id(name))
    }

    /// Where the endpoints' keys and certificates of a context are.
    pub(crate) fn tls_folder(&self, name: &str) -> PathBuf {
        self.folder.join("tls").join(id(name))
    }

    /// A context.
    pub(crate) fn get(&self, name: &str) -> Result<Metadata> {
        check_name(name)?;
        let path = self.meta_folder(name).join("meta.json");
        let text = fs::read(&path).map_err(|e| {
            let what = if e.kind() == io::ErrorKind::NotFound { "context not found: " } else { "" };
            Error::message(format!("context {name:?}: {what}open {}: {}", path.display(), reason(&e)))
        })?;
        serde_json::from_slice(&text).map_err(|e| Error::message(format!("context {name:?}: {}: {e}", path.display())))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.meta_folder(name).join("meta.json").exists()
    }

    /// All contexts, by name. One that cannot be read is passed over.
    pub(crate) fn list(&self) -> Vec<Metadata> {
        let entries = fs::read_dir(self.folder.join("meta")).into_iter().flatten().flatten();
        let read = |entry: fs::DirEntry| -> Option<Metadata> {
            serde_json::from_slice(&fs::read(entry.path().join("meta.json")).ok()?).ok()
        };
        let mut all: Vec<Metadata> = entries.filter_map(read).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Writes a context's `meta.json`.
    pub(crate) fn put(&self, context: &Metadata) -> Result<()> {
        check_name(&context.name)?;
        let text = serde_json::to_vec(context).map_err(|e| Error::message(e.to_string()))?;
        let folder = self.meta_folder(&context.name);
        write_private(&folder, "meta.json", &text)
    }

    /// Replaces the keys and certificates of docker's endpoint.
    pub(crate) fn put_tls(&self, name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        check_name(name)?;
        remove_folder(&self.tls_folder(name))?;
        let folder = self.tls_folder(name).join("docker");
        for (file, text) in files.iter().filter(|(file, _)| TLS_FILES.contains(&file.as_str())) {
            write_private(&folder, file, text)?;
        }
        Ok(())
    }

    /// The keys and certificates of docker's endpoint, by file name.
    pub(crate) fn tls(&self, name: &str) -> BTreeMap<String, PathBuf> {
        let folder = self.tls_folder(name).join("docker");
        let files = TLS_FILES.iter().map(|file| ((*file).to_owned(), folder.join(file)));
        files.filter(|(_, path)| path.exists()).collect()
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        remove_folder(&self.meta_folder(name))?;
        remove_folder(&self.tls_folder(name))
    }
}

/// Contexts live under the digests of their names.
fn id(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// docker's rule, in its words.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::message("context name cannot be empty"));
    }
    if name == DEFAULT {
        return Err(Error::message("\"default\" is a reserved context name"));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'));
    if first && all && name.len() > 1 {
        return Ok(());
    }
    Err(Error::message(format!(
        "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )))
}

/// Writes a file that only its owner reads, all of it or nothing.
pub(crate) fn write_private(folder: &Path, name: &str, text: &[u8]) -> Result<()> {
    let failed = |e: io::Error| Error::message(format!("{}: {}", folder.join(name).display(), reason(&e)));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let temporary = folder.join(format!("{name}.{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, folder.join(name)));
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        failed(e)
    })
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::message(format!("{}: {}", folder.display(), reason(&e))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_where_dockers_client_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::of(folder.path());
        let endpoint = EndpointMetadata { host: "unix:///x".into(), skip_tls_verify: false };
        store.put(&Metadata::new("test", "words", endpoint)).unwrap();
        // sha256 of "test".
        let path = "contexts/meta/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/meta.json";
        let text = fs::read_to_string(folder.path().join(path)).unwrap();
        let expected = r#"{"Name":"test","Metadata":{"Description":"words"},"Endpoints":{"docker":{"Host":"unix:///x","SkipTLSVerify":false}}}"#;
        assert_eq!(text, expected);
        store.put_tls("test", &[("ca.pem".to_owned(), b"x".to_vec()), ("../evil".to_owned(), vec![])].into()).unwrap();
        assert_eq!(store.tls("test").keys().collect::<Vec<_>>(), ["ca.pem"]);
        assert_eq!(store.list()[0].description(), "words");
        store.remove("test").unwrap();
        assert!(store.get("test").unwrap_err().to_string().contains("context not found"));
        assert!(store.list().is_empty());
    }

    #[test]
    fn names_that_docker_refuses_are_refused() {
        for bad in ["", "default", "-x", "a/b", "a b", "x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("my-box_1.0+x").is_ok());
    }
}
