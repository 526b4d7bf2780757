//! `~/.docker/config.json`: credentials, proxies, default formats, detach keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize as _};

use crate::context_store::write_private;
use crate::error::{Error, Result, reason};
use crate::output::eprintln;

/// What we read of the file; the rest is other programs' business.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigFile {
    pub(crate) auths: BTreeMap<String, StoredAuth>,
    pub(crate) creds_store: String,
    pub(crate) cred_helpers: BTreeMap<String, String>,
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    pub(crate) detach_keys: String,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
    pub(crate) networks_format: String,
    pub(crate) volumes_format: String,
    pub(crate) stats_format: String,
    pub(crate) proxies: BTreeMap<String, Proxy>,
    pub(crate) current_context: String,
}

/// One entry of `auths`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct StoredAuth {
    pub(crate) auth: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identitytoken: String,
    pub(crate) registrytoken: String,
}

/// Proxy variables for new containers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Proxy {
    pub(crate) http_proxy: String,
    pub(crate) https_proxy: String,
    pub(crate) no_proxy: String,
    pub(crate) ftp_proxy: String,
    pub(crate) all_proxy: String,
}

/// The folder of the configuration: `--config`, `DOCKER_CONFIG`, or `~/.docker`.
pub(crate) fn folder(flag: &str) -> PathBuf {
    if !flag.is_empty() {
        return PathBuf::from(flag);
    }
    match std::env::var_os("DOCKER_CONFIG") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker"),
    }
}

/// Reads the file. An absent one is an empty one; a broken one is told and then ignored, as docker does.
pub(crate) fn load(folder: &std::path::Path) -> ConfigFile {
    let path = folder.join("config.json");
    let Ok(text) = std::fs::read(&path) else { return ConfigFile::default() };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        eprintln(&format!("WARNING: Error loading config file: {}: {error}", path.display()));
        ConfigFile::default()
    })
}

/// Changes fields of the file and leaves the others as they are. It is replaced as a whole, readable by its owner only.
pub(crate) fn change(
    folder: &std::path::Path,
    work: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> Result<()> {
    let path = folder.join("config.json");
    let mut fields = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| Error::message(format!("{}: {error}; it is left as it is", path.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => serde_json::Map::new(),
        Err(error) => return Err(Error::message(format!("{}: {}", path.display(), reason(&error)))),
    };
    work(&mut fields);
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
    fields.serialize(&mut writer).map_err(|error| Error::message(error.to_string()))?;
    // A file that is a link stays one.
    let real = std::fs::canonicalize(&path).unwrap_or(path);
    let name = real.file_name().map_or("config.json".to_owned(), |name| name.to_string_lossy().into_owned());
    write_private(real.parent().unwrap_or(folder), &name, &text)
}

impl ConfigFile {
    /// The proxy variables for containers of the daemon at `host`, upper and lower case.
    pub(crate) fn proxy_env(&self, host: &str) -> Vec<(String, String)> {
        let Some(proxy) = self.proxies.get(host).or_else(|| self.proxies.get("default")) else {
            return Vec::new();
        };
        let pairs = [
            ("HTTP_PROXY", &proxy.http_proxy),
            ("HTTPS_PROXY", &proxy.https_proxy),
            ("NO_PROXY", &proxy.no_proxy),
            ("FTP_PROXY", &proxy.ftp_proxy),
            ("ALL_PROXY", &proxy.all_proxy),
        ];
        let given = pairs.iter().filter(|(_, value)| !value.is_empty());
        given
            .flat_map(|(name, value)| [((*name).to_owned(), (*value).clone()), (name.to_lowercase(), (*value).clone())])
            .collect()
    }
}
