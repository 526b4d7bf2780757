//! From a challenge to an `Authorization` header.

use base64::Engine as _;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

use super::challenge::Challenge;
use super::client::{Repository, transport_reason};
use super::credential::RegistryAuth;
use super::endpoint::{Endpoint, TlsOptions, host_of, is_insecure};

const CLIENT_ID: &str = "gantry";
/// Bytes of a token service's answer.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Repository {
    /// The header that answers `challenge`. Credentials are used for the registry itself only, never for a mirror.
    pub(super) async fn authorization(&self, endpoint: &Endpoint, challenge: &Challenge) -> Result<HeaderValue> {
        let auth = self.auth.as_ref().filter(|_| endpoint.is_origin);
        match challenge {
            Challenge::Basic => match auth {
                Some(auth) if !auth.username.is_empty() => sensitive(&basic(auth)),
                _ => Err(self.denied()),
            },
            Challenge::Bearer { realm, service, scope } => {
                if let Some(auth) = auth.filter(|auth| !auth.registry_token.is_empty()) {
                    return sensitive(&format!("Bearer {}", auth.registry_token));
                }
                let default_scope = format!("repository:{}:pull", self.reference.path());
                let scope = scope.as_deref().unwrap_or(&default_scope);
                let scope = std::iter::once(scope).chain(self.further_scopes.iter().map(String::as_str));
                let scope = &scope.collect::<Vec<_>>().join(" ");
                let token = self.token(endpoint, realm, service.as_deref(), scope, auth).await?;
                sensitive(&format!("Bearer {token}"))
            }
        }
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<String> {
        let url = self.realm(endpoint, realm)?;
        let host = host_of(&url);
        let insecure = &self.registry.settings.insecure_registries;
        let elsewhere = TlsOptions { skip_verify: is_insecure(&host, insecure), ..TlsOptions::default() };
        let options = if url.origin() == endpoint.base.origin() { &endpoint.tls } else { &elsewhere };
        let client = self.registry.client(options, &host).await?;
        let request = match auth {
            Some(auth) if !auth.identity_token.is_empty() => {
                let mut form = vec![("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("scope", scope)];
                form.extend(service.map(|service| ("service", service)));
                form.push(("refresh_token", &auth.identity_token));
                client
                    .post(url)
                    .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(url_encoded(&form))
            }
            _ => {
                let mut url = url;
                for one in scope.split(' ') {
                    url.query_pairs_mut().append_pair("scope", one);
                }
                url.query_pairs_mut().append_pair("client_id", CLIENT_ID);
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                let request = client.get(url);
                match auth {
                    Some(auth) if !auth.username.is_empty() => request.header(AUTHORIZATION, sensitive(&basic(auth))?),
                    _ => request,
                }
            }
        };
        self.ask(&host, request).await
    }

    /// The address of the token service: with TLS, unless the registry itself is one that may do without.
    fn realm(&self, endpoint: &Endpoint, realm: &str) -> Result<Url> {
        let refused = |why: &str| {
            Error::new(
                ErrorKind::Unauthorized,
                format!("registry {}: its token service is refused: {why}", endpoint.host()),
            )
        };
        let url = Url::parse(realm).map_err(|_| refused("its address cannot be read"))?;
        let insecure = &self.registry.settings.insecure_registries;
        let allowed = match url.scheme() {
            "https" => true,
            "http" => endpoint.base.scheme() == "http" && is_insecure(&host_of(&url), insecure),
            _ => false,
        };
        if !allowed {
            return Err(refused("it is not reached by TLS"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("its address has credentials in it"));
        }
        Ok(url)
    }

    async fn ask(&self, host: &str, request: RequestBuilder) -> Result<String> {
        let failed = |why: String| Error::new(ErrorKind::Unavailable, format!("token service {host}: {why}"));
        let limit = self.registry.settings.stall_timeout;
        let answer = tokio::time::timeout(limit, async {
            let mut response = request.send().await.map_err(|e| failed(transport_reason(e)))?;
            let status = response.status();
            if matches!(status.as_u16(), 400 | 401 | 403) {
                return Err(self.denied());
            }
            if !status.is_success() {
                return Err(failed(format!("it answered {status}")));
            }
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|e| failed(transport_reason(e)))? {
                if body.len() + piece.len() > ANSWER_BYTES_MAX {
                    return Err(failed(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body)
        });
        let body = answer.await.map_err(|_| failed(format!("no answer within {limit:?}")))??;
        // The parser's own error would show a piece of the answer, which may be a secret.
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| failed("its answer is not a token".into()))?;
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(failed("its answer holds no usable token".into()));
        }
        Ok(token)
    }
}

fn basic(auth: &RegistryAuth) -> String {
    let pair = format!("{}:{}", auth.username, auth.password);
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// A header that is not shown in debug output.
fn sensitive(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::new(ErrorKind::Unauthorized, "the credentials hold characters that HTTP cannot carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn url_encoded(form: &[(&str, &str)]) -> String {
    let escape =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    form.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&")
}
