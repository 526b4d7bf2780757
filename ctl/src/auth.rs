//! Credentials of registries, for the `X-Registry-Auth` header.
//!
//! They come from `config.json`: plain entries, or a helper program `docker-credential-NAME`. A helper that
//! is configured but absent or failing is an error: pulling without credentials instead would hide it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::config_file::{self, ConfigFile, StoredAuth};
use crate::error::{Error, Result};

/// docker.io's key in configuration files.
pub(crate) const DOCKER_IO: &str = "https://index.docker.io/v1/";

/// The header's content.
#[derive(Debug, Default, PartialEq, Serialize)]
struct RegistryAuth {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    registrytoken: String,
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The `X-Registry-Auth` value for a registry; without credentials that of an anonymous client.
pub(crate) fn header(config: &ConfigFile, domain: &str) -> Result<String> {
    let auth = of(config, if domain == "docker.io" { DOCKER_IO } else { domain })?;
    let text = serde_json::to_vec(&auth).map_err(|error| Error::message(error.to_string()))?;
    Ok(URL_SAFE.encode(text))
}

fn of(config: &ConfigFile, server: &str) -> Result<RegistryAuth> {
    match helper(config, server) {
        Some(name) => match ask_helper(name, server)? {
            Some(auth) => Ok(auth),
            None => from_file(config, server),
        },
        None => from_file(config, server),
    }
}

/// The `X-Registry-Config` value: what the configuration has for every registry that it names.
pub(crate) fn registries_header(config: &ConfigFile) -> Result<String> {
    let mut all = std::collections::BTreeMap::new();
    for server in config.auths.keys().chain(config.cred_helpers.keys()) {
        all.insert(server.clone(), of(config, server)?);
    }
    let text = serde_json::to_vec(&all).map_err(|error| Error::message(error.to_string()))?;
    Ok(URL_SAFE.encode(text))
}

fn helper<'a>(config: &'a ConfigFile, server: &str) -> Option<&'a str> {
    match config.cred_helpers.get(server) {
        Some(name) => Some(name.as_str()),
        None => Some(config.creds_store.as_str()),
    }
    .filter(|name| !name.is_empty())
}

fn from_file(config: &ConfigFile, server: &str) -> Result<RegistryAuth> {
    let found = config
        .auths
        .get_key_value(server)
        .or_else(|| config.auths.iter().find(|(key, _)| hostname(key) == hostname(server)));
    let Some((_, stored)) = found else { return Ok(RegistryAuth::default()) };
    let (username, password) = decode(server, stored)?;
    Ok(RegistryAuth {
        username,
        password,
        serveraddress: server.to_owned(),
        identitytoken: stored.identitytoken.clone(),
        registrytoken: stored.registrytoken.clone(),
    })
}

/// `auth` is `user:password` in base64.
fn decode(server: &str, stored: &StoredAuth) -> Result<(String, String)> {
    if stored.auth.is_empty() {
        return Ok((stored.username.clone(), stored.password.clone()));
    }
    let bytes = STANDARD.decode(&stored.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match bytes.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => Ok((user.to_owned(), password.trim_end_matches('\0').to_owned())),
        None => Err(Error::message(format!("config.json: auths[{server:?}].auth: invalid auth configuration"))),
    }
}

/// The host in a key of a configuration file, or in what the user typed.
pub(crate) fn hostname(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Where credentials were put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A helper program keeps them.
    Helper,
    /// They are in the configuration file, which protects them by its mode only.
    File(PathBuf),
}

/// Keeps credentials that the registry took.
pub(crate) fn store(
    folder: &Path,
    config: &ConfigFile,
    server: &str,
    username: &str,
    password: &str,
    identity_token: &str,
) -> Result<Place> {
    let Some(name) = helper(config, server) else {
        let entry = if identity_token.is_empty() {
            serde_json::json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        } else {
            let auth = STANDARD.encode(format!("{username}:"));
            serde_json::json!({ "auth": auth, "identitytoken": identity_token })
        };
        config_file::change(folder, |fields| set_entry(fields, server, Some(entry)))?;
        return Ok(Place::File(folder.join("config.json")));
    };
    let (user, secret) = if identity_token.is_empty() { (username, password) } else { ("<token>", identity_token) };
    let message = serde_json::json!({ "ServerURL": server, "Username": user, "Secret": secret });
    let output = run_helper(name, "store", &message.to_string()).map_err(|reason| {
        Error::message(format!("error saving credentials for {server} with docker-credential-{name}: {reason}"))
    })?;
    if !output.ok {
        return Err(Error::message(format!(
            "error saving credentials: error storing credentials - {}, out: `{}`",
            output.status, output.text
        )));
    }
    // docker's client notes an empty entry, so that lists of registries are complete.
    config_file::change(folder, |fields| set_entry(fields, server, Some(serde_json::json!({}))))?;
    Ok(Place::Helper)
}

/// Forgets the credentials of a registry.
pub(crate) fn erase(folder: &Path, config: &ConfigFile, server: &str) -> Result<()> {
    if let Some(name) = helper(config, server) {
        let failed =
            |reason: &str| Error::message(format!("error erasing credentials with docker-credential-{name}: {reason}"));
        let output = run_helper(name, "erase", server).map_err(|reason| failed(&reason))?;
        if !output.ok && !output.text.starts_with("credentials not found") {
            return Err(failed(&output.text));
        }
    }
    let same: Vec<&String> = config.auths.keys().filter(|key| hostname(key) == hostname(server)).collect();
    if same.is_empty() {
        return Ok(());
    }
    config_file::change(folder, |fields| same.iter().for_each(|key| set_entry(fields, key, None)))
}

/// User name and password that are stored for a registry; empty where there are none.
pub(crate) fn stored(config: &ConfigFile, server: &str) -> Result<(String, String)> {
    let auth = of(config, server)?;
    Ok((auth.username, auth.password))
}

fn set_entry(fields: &mut serde_json::Map<String, serde_json::Value>, server: &str, entry: Option<serde_json::Value>) {
    let auths = fields.entry("auths").or_insert_with(|| serde_json::json!({}));
    if let Some(auths) = auths.as_object_mut() {
        match entry {
            Some(entry) => auths.insert(server.to_owned(), entry),
            None => auths.remove(server),
        };
    }
}

/// What a helper said.
struct HelperOutput {
    ok: bool,
    status: ExitStatus,
    text: String,
}

/// Runs `docker-credential-NAME VERB`. The reason of a failure is for people.
fn run_helper(name: &str, verb: &str, input: &str) -> std::result::Result<HelperOutput, String> {
    if name.contains('/') {
        return Err("a helper's name has no slash".to_owned());
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| crate::error::reason(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that exits without reading tells why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(HelperOutput { ok: output.status.success(), status: output.status, text })
}

/// Asks `docker-credential-NAME get`; `None` if it knows nothing of the server.
fn ask_helper(name: &str, server: &str) -> Result<Option<RegistryAuth>> {
    let failed = |reason: String| {
        Error::message(format!("error getting credentials for {server} from docker-credential-{name}: {reason}"))
    };
    let output = run_helper(name, "get", server).map_err(failed)?;
    if !output.ok {
        if output.text.starts_with("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("{}: {}", output.status, output.text)));
    }
    let answer: HelperAnswer = serde_json::from_str(&output.text).map_err(|error| failed(error.to_string()))?;
    let serveraddress = server.to_owned();
    Ok(Some(if answer.username == "<token>" {
        RegistryAuth { identitytoken: answer.secret, serveraddress, ..RegistryAuth::default() }
    } else {
        RegistryAuth { username: answer.username, password: answer.secret, serveraddress, ..RegistryAuth::default() }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ConfigFile {
        serde_json::from_str(text).unwrap()
    }

    fn decoded(header: &str) -> String {
        String::from_utf8(URL_SAFE.decode(header).unwrap()).unwrap()
    }

    #[test]
    fn entries_are_found_by_host() {
        let file = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},"https://r.example/v2/":{"username":"a","password":"b"}}}"#,
        );
        assert_eq!(
            decoded(&header(&file, "docker.io").unwrap()),
            r#"{"username":"u","password":"p:q","serveraddress":"https://index.docker.io/v1/"}"#
        );
        assert_eq!(
            decoded(&header(&file, "r.example").unwrap()),
            r#"{"username":"a","password":"b","serveraddress":"r.example"}"#
        );
        assert_eq!(decoded(&header(&file, "other").unwrap()), "{}");
    }

    #[test]
    fn a_broken_entry_or_an_absent_helper_is_an_error() {
        let file = config(r#"{"auths":{"x":{"auth":"!!"}},"credHelpers":{"y":"no-such-helper-at-all"}}"#);
        assert!(header(&file, "x").unwrap_err().to_string().contains("auths[\"x\"].auth"));
        let message = header(&file, "y").unwrap_err().to_string();
        assert!(message.contains("docker-credential-no-such-helper-at-all: no such file"), "{message}");
    }
}
