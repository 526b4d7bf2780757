//! What the engine can ask of a client of the classic endpoint: its context, which came as a whole, and credentials.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use docker_api::system::AuthConfig;
use engine::build::{AgentStream, BuildClient, LocalSource, Secret, SourceFilter};
use engine::image::RegistryAuth;
use engine::{Error, Result};
use http::HeaderMap;

use crate::auth;
use crate::status_code::Failure;

/// See the module.
#[derive(Debug)]
pub(super) struct ClassicClient {
    pub(super) context: Arc<LocalSource>,
    pub(super) credentials: HashMap<String, RegistryAuth>,
}

#[async_trait]
impl BuildClient for ClassicClient {
    async fn source(&self, name: &str, _wanted: &SourceFilter) -> Result<Arc<LocalSource>> {
        match name {
            "context" => Ok(Arc::clone(&self.context)),
            other => Err(Error::not_found(format!("context {other}: the classic builder has one context only"))),
        }
    }

    async fn secret(&self, id: &str) -> Result<Option<Secret>> {
        Err(Error::not_implemented(format!("secret {id}: the classic builder has no secrets: build with buildx")))
    }

    async fn ssh(&self, id: &str) -> Result<Box<dyn AgentStream>> {
        Err(Error::not_implemented(format!("ssh {id}: the classic builder forwards no agents: build with buildx")))
    }

    async fn credentials(&self, registry: &str) -> Result<Option<RegistryAuth>> {
        Ok(self.credentials.get(registry).cloned())
    }
}

/// `X-Registry-Config`: base64 of a JSON object, credentials by registry.
///
/// # Errors
/// 400 when it is neither; nothing of it is repeated in the message.
pub(super) fn credentials(headers: &HeaderMap) -> Result<HashMap<String, RegistryAuth>, Failure> {
    let wrong = |why: &str| Failure::bad_request(format!("invalid X-Registry-Config header: {why}"));
    let Some(value) = headers.get("x-registry-config") else { return Ok(HashMap::new()) };
    let text = value.to_str().map_err(|_| wrong("it is not ASCII"))?.trim().trim_end_matches('=');
    let plain = text.replace('+', "-").replace('/', "_");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(plain).map_err(|_| wrong("it is not base64"))?;
    if json.is_empty() {
        return Ok(HashMap::new());
    }
    let configs: HashMap<String, AuthConfig> =
        docker_api::from_slice(&json).map_err(|_| wrong("it is not a JSON object of credentials"))?;
    let mut all = HashMap::new();
    for (address, config) in configs {
        let credentials = auth::credentials(config)?;
        if !credentials.is_empty() {
            all.insert(registry(&address).to_owned(), credentials);
        }
    }
    Ok(all)
}

/// `https://index.docker.io/v1/` is docker.io.
fn registry(address: &str) -> &str {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    match host.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_registry() {
        let json = r#"{"https://index.docker.io/v1/":{"username":"u","password":"p"},"localhost:5000":{"auth":"dTpw"},"x":{}}"#;
        let mut headers = HeaderMap::new();
        let text = base64::engine::general_purpose::URL_SAFE.encode(json);
        headers.insert("x-registry-config", text.parse().unwrap());
        let all = credentials(&headers).unwrap();
        assert_eq!(
            (all.len(), all["docker.io"].password.as_str(), all["localhost:5000"].username.as_str()),
            (2, "p", "u")
        );
        headers.insert("x-registry-config", "c2VjcmV0".parse().unwrap());
        assert!(!credentials(&headers).unwrap_err().message.contains("secret"));
        assert!(credentials(&HeaderMap::new()).unwrap().is_empty());
    }
}
