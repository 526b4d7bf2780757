//! Credentials of registries, for the `X-Registry-Auth` header.
//!
//! They come from `config.json`: plain entries, or a helper program `docker-credential-NAME`. A helper that
//! is configured but absent or failing is an error: pulling without credentials instead would hide it.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, StoredAuth};
use crate::error::{Error, Result};

/// docker.io's key in configuration files.
const DOCKER_IO: &str = "https://index.docker.io/v1/";

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
    let server = if domain == "docker.io" { DOCKER_IO } else { domain };
    let auth = match helper(config, server) {
        Some(name) => match ask_helper(name, server)? {
            Some(auth) => auth,
            None => from_file(config, server)?,
        },
        None => from_file(config, server)?,
    };
    let text = serde_json::to_vec(&auth).map_err(|error| Error::message(error.to_string()))?;
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

fn hostname(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Asks `docker-credential-NAME get`; `None` if it knows nothing of the server.
fn ask_helper(name: &str, server: &str) -> Result<Option<RegistryAuth>> {
    let program = format!("docker-credential-{name}");
    let failed =
        |reason: String| Error::message(format!("error getting credentials for {server} from {program}: {reason}"));
    if name.contains('/') {
        return Err(failed("a helper's name has no slash".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(crate::error::reason(&error)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that exits without reading tells why by its status.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if text.trim().starts_with("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("{}: {}", output.status, text.trim())));
    }
    let answer: HelperAnswer = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
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
