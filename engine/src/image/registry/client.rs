//! One request to a registry: mirrors in turn, redirects, authentication, retries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use reqwest::{Client, Response, Url};

use crate::error::{Error, ErrorKind, Result};
use crate::image::reference::Reference;
use crate::image::settings::ImageSettings;

use super::challenge;
use super::credential::RegistryAuth;
use super::endpoint::{Endpoint, TlsOptions, host_of, is_insecure, is_loopback, mirror, origins};
use super::{hosts, tls};

const REDIRECTS_MAX: usize = 5;
/// Attempts while nothing answers at the address at all.
const CONNECT_ATTEMPTS_MAX: u32 = 2;
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Bytes read of an error's body.
const ERROR_BODY_BYTES_MAX: usize = 16 << 10;
const USER_AGENT: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"));

/// What all pulls share: connections, and what was learnt about registries.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(super) settings: Arc<ImageSettings>,
    clients: Mutex<HashMap<(TlsOptions, bool, bool), Client>>,
    /// Registries that turned out to speak plain HTTP (only those that may).
    plain: Mutex<HashSet<String>>,
}

/// What a request is for: a mirror may serve one and not the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Resolve,
    Pull,
}

/// One repository, for one caller: credentials and tokens live here and end with it.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(super) registry: Arc<Registry>,
    pub(super) reference: Reference,
    pub(super) auth: Option<RegistryAuth>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Beside what a challenge asks for: repositories that blobs are linked from.
    pub(super) further_scopes: Vec<String>,
    /// `Authorization` for each endpoint, as far as it asked for one.
    authorizations: Mutex<HashMap<String, HeaderValue>>,
}

/// Why an endpoint gave nothing.
pub(super) enum Failure {
    /// Nobody answered, or not in this language: another address of the registry may.
    Unreachable(Error),
    /// The registry has answered.
    Answered(Error),
}

/// A client for servers that are no registries (build contexts, `ADD` of a URL): it trusts what this machine trusts, and
/// follows redirects.
///
/// # Errors
/// `Internal` when TLS cannot be set up.
pub(crate) async fn web_client(redirects_max: usize, silence_max: Duration) -> Result<Client> {
    let config = tokio::task::spawn_blocking(|| tls::configuration(&TlsOptions::default()))
        .await
        .map_err(|e| Error::internal("set up TLS").with_source(e))??;
    let builder = Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::limited(redirects_max))
        .user_agent(USER_AGENT)
        .connect_timeout(silence_max)
        .read_timeout(silence_max);
    builder.build().map_err(|e| Error::internal("set up an HTTP client").with_source(e))
}

impl Registry {
    pub(crate) fn new(settings: Arc<ImageSettings>) -> Self {
        Self { settings, clients: Mutex::default(), plain: Mutex::default() }
    }

    pub(super) async fn client(&self, options: &TlsOptions, host: &str) -> Result<Client> {
        self.client_for(options, host, false).await
    }

    /// A client; one that sends long bodies has no limit on how long no answer comes, which its caller watches.
    pub(super) async fn client_for(&self, options: &TlsOptions, host: &str, sends: bool) -> Result<Client> {
        let key = (options.clone(), is_loopback(host), sends);
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let wanted = options.clone();
        let config = tokio::task::spawn_blocking(move || tls::configuration(&wanted))
            .await
            .map_err(|e| Error::internal("set up TLS").with_source(e))??;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .connect_timeout(self.settings.connect_timeout)
            .http1_only();
        if !sends {
            builder = builder.read_timeout(self.settings.stall_timeout);
        }
        if key.1 {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| Error::internal("set up an HTTP client").with_source(e))?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(key, client.clone());
        Ok(client)
    }

    fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>> {
        let insecure = &self.settings.insecure_registries;
        let mut endpoints = match &self.settings.hosts_dir {
            Some(dir) => hosts::read(dir, registry, insecure)?,
            None => None,
        };
        if endpoints.is_none() {
            let mirrors = self.settings.registry_mirrors.get(registry).map_or(&[][..], Vec::as_slice);
            let mut all = mirrors.iter().map(|url| mirror(url, insecure)).collect::<Result<Vec<_>>>()?;
            all.extend(origins(registry, insecure)?);
            endpoints = Some(all);
        }
        let mut endpoints = endpoints.unwrap_or_default();
        if self.plain.lock().unwrap_or_else(PoisonError::into_inner).contains(registry) {
            let plain_too = endpoints.iter().any(|e| e.is_origin && e.base.scheme() == "http");
            endpoints.retain(|e| !(plain_too && e.is_origin && e.base.scheme() == "https"));
        }
        Ok(endpoints)
    }
}

impl Repository {
    /// # Errors
    /// `InvalidArgument` when the configuration for this registry is wrong.
    pub(crate) fn open(registry: &Arc<Registry>, reference: &Reference, auth: Option<&RegistryAuth>) -> Result<Self> {
        let endpoints = registry.endpoints(reference.domain())?;
        let auth = auth.filter(|auth| !auth.is_empty() && auth.is_for(reference.domain())).cloned();
        Ok(Self {
            registry: Arc::clone(registry),
            reference: reference.clone(),
            auth,
            endpoints,
            further_scopes: Vec::new(),
            authorizations: Mutex::default(),
        })
    }

    /// Whether the caller's credentials were asked for and taken in any answer so far.
    pub(crate) fn used_credentials(&self) -> bool {
        self.auth.is_some() && !self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Asks for the right to read these repositories too, where rights are asked for.
    pub(crate) fn also_reading(mut self, others: &[Reference]) -> Self {
        self.further_scopes = others.iter().map(|other| format!("repository:{}:pull", other.path())).collect();
        self
    }

    /// Remembers a registry that speaks plain HTTP.
    pub(super) fn note_plain(&self, endpoint: &Endpoint) {
        if endpoint.is_origin && endpoint.base.scheme() == "http" {
            let domain = self.reference.domain().to_owned();
            self.registry.plain.lock().unwrap_or_else(PoisonError::into_inner).insert(domain);
        }
    }

    /// `Authorization` for an endpoint, once it has asked for one.
    pub(super) fn known_authorization(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(endpoint.base.as_str()).cloned()
    }

    /// `GET /v2/<repository>/<path>` from the first endpoint that has it.
    pub(super) async fn get(&self, purpose: Purpose, path: &str, accept: &str, from: Option<u64>) -> Result<Response> {
        let able = |e: &&Endpoint| if purpose == Purpose::Resolve { e.resolves } else { e.pulls };
        let candidates: Vec<&Endpoint> = self.endpoints.iter().filter(able).collect();
        let mut failed = None;
        for (at, endpoint) in candidates.iter().enumerate() {
            let plain_next = candidates.get(at + 1).is_some_and(|next| next.is_origin && endpoint.is_origin);
            match self.get_from(endpoint, path, accept, from, plain_next).await {
                Ok(response) => {
                    self.note_plain(endpoint);
                    return Ok(response);
                }
                Err(Failure::Answered(error)) if endpoint.is_origin => return Err(error),
                Err(Failure::Answered(error) | Failure::Unreachable(error)) => {
                    tracing::debug!(endpoint = %endpoint.base, %error, "trying the next endpoint");
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!("no endpoint of {} is allowed to serve it", self.reference.domain()),
            )
        }))
    }

    async fn get_from(
        &self,
        endpoint: &Endpoint,
        path: &str,
        accept: &str,
        from: Option<u64>,
        has_fallback: bool,
    ) -> Result<Response, Failure> {
        let url = endpoint
            .base
            .join(&format!("{}/{path}", self.reference.path()))
            .map_err(|e| Failure::Answered(Error::internal(format!("address of {path}")).with_source(e)))?;
        let mut authenticated = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (error, wait) = match self.follow(endpoint, &url, accept, from).await {
                Err(Failure::Answered(error)) => return Err(Failure::Answered(error)),
                Err(Failure::Unreachable(error)) => {
                    if has_fallback || attempt >= CONNECT_ATTEMPTS_MAX {
                        return Err(Failure::Unreachable(error));
                    }
                    (error, None)
                }
                Ok((response, _))
                    if response.status().is_success() || response.status() == StatusCode::RANGE_NOT_SATISFIABLE =>
                {
                    return Ok(response);
                }
                Ok((response, at_endpoint)) => {
                    if response.status() == StatusCode::UNAUTHORIZED && at_endpoint && !authenticated {
                        authenticated = true;
                        attempt = 0;
                        self.authenticate(endpoint, &response).await.map_err(Failure::Answered)?;
                        continue;
                    }
                    let wait = retry_after(&response);
                    let again = may_pass(response.status());
                    let error = self.refusal(endpoint, response).await;
                    if !again {
                        return Err(Failure::Answered(error));
                    }
                    (error, wait)
                }
            };
            if attempt >= self.registry.settings.attempts_max {
                return Err(Failure::Answered(error));
            }
            let backoff = BACKOFF_FIRST * 2_u32.saturating_pow(attempt - 1);
            tokio::time::sleep(wait.unwrap_or(backoff).min(self.registry.settings.retry_after_max)).await;
        }
    }

    /// One request with its redirects. Says whether the endpoint itself gave the answer.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        first: &Url,
        accept: &str,
        from: Option<u64>,
    ) -> Result<(Response, bool), Failure> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let at_endpoint = url.origin() == endpoint.base.origin();
            let response = self.send(endpoint, &url, at_endpoint, accept, from).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok((response, at_endpoint));
            }
            let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("");
            let insecure = &self.registry.settings.insecure_registries;
            url =
                redirect_target(&url, location, insecure).map_err(|e| Failure::Answered(e.context(endpoint.host())))?;
        }
        let text = format!("{}: more than {REDIRECTS_MAX} redirects", endpoint.host());
        Err(Failure::Answered(Error::new(ErrorKind::Unavailable, text)))
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        at_endpoint: bool,
        accept: &str,
        from: Option<u64>,
    ) -> Result<Response, Failure> {
        let host = host_of(url);
        let elsewhere = TlsOptions {
            skip_verify: is_insecure(&host, &self.registry.settings.insecure_registries),
            ..TlsOptions::default()
        };
        let options = if at_endpoint { &endpoint.tls } else { &elsewhere };
        let client = self.registry.client(options, &host).await.map_err(Failure::Answered)?;
        let mut request = client.get(url.clone()).header(ACCEPT, accept);
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if at_endpoint {
            for (name, value) in &endpoint.headers {
                request = request.header(name, value);
            }
            let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(authorization) = known.get(endpoint.base.as_str()) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
        }
        let answer = tokio::time::timeout(self.registry.settings.stall_timeout, request.send()).await;
        let unavailable = |why: String| Error::new(ErrorKind::Unavailable, format!("registry {host}: {why}"));
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::Unreachable(unavailable(transport_reason(error)))),
            Err(_) => {
                let limit = self.registry.settings.stall_timeout;
                Err(Failure::Unreachable(unavailable(format!("no answer within {limit:?}"))))
            }
        }
    }

    pub(super) async fn authenticate(&self, endpoint: &Endpoint, response: &Response) -> Result<()> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let wanted = challenge::choose(headers.iter().filter_map(|v| v.to_str().ok()));
        let Some(wanted) = wanted else { return Err(self.denied()) };
        let header = self.authorization(endpoint, &wanted).await?;
        let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint.base.to_string(), header);
        Ok(())
    }

    /// Docker's words for a repository that is private or not there.
    pub(super) fn denied(&self) -> Error {
        let repository = self.reference.familiar_repository();
        let text =
            format!("pull access denied for {repository}, repository does not exist or may require 'docker login'");
        Error::new(ErrorKind::Unauthorized, text)
    }

    /// What an answer that is no success means.
    pub(super) async fn refusal(&self, endpoint: &Endpoint, response: Response) -> Error {
        let status = response.status();
        let host = endpoint.host();
        let body = read_at_most(response, ERROR_BODY_BYTES_MAX).await.unwrap_or_default();
        let (code, message) = registry_error(&body);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let denied = self.denied();
                if message.is_empty() {
                    denied
                } else {
                    Error::new(denied.kind(), format!("{}: {message}", denied.message()))
                }
            }
            StatusCode::NOT_FOUND if code == "NAME_UNKNOWN" => {
                Error::not_found(format!("repository {} not found: name unknown", self.reference.familiar_repository()))
            }
            StatusCode::NOT_FOUND => {
                Error::not_found(format!("manifest for {} not found: manifest unknown", self.reference.familiar()))
            }
            _ => {
                let why = if message.is_empty() { String::new() } else { format!(": {message}") };
                Error::new(ErrorKind::Unavailable, format!("registry {host} answered {status}{why}"))
            }
        }
    }
}

/// At most `bytes_max` of a body, cut there.
pub(super) async fn read_at_most(mut response: Response, bytes_max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < bytes_max {
        let Some(piece) = response.chunk().await.ok()? else { break };
        body.extend_from_slice(&piece[..piece.len().min(bytes_max - body.len())]);
    }
    Some(body)
}

/// Code and message of the first error, as the distribution protocol writes it; printable text only.
fn registry_error(body: &[u8]) -> (String, String) {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &value["errors"][0];
    let text = |key: &str| -> String {
        first[key].as_str().unwrap_or("").chars().filter(|c| !c.is_control()).take(300).collect()
    };
    (text("code"), text("message"))
}

/// Whether the same request may be answered otherwise later.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// Seconds only; a date is left to the back-off.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The cause of a transport error in words, without the address: a redirect's may hold a signature.
pub(super) fn transport_reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

/// Where a redirect leads, if it may be followed there.
fn redirect_target(from: &Url, location: &str, insecure: &[String]) -> Result<Url> {
    let refused = |why: &str| Error::new(ErrorKind::Unavailable, format!("redirect refused: {why}"));
    let to = from.join(location).map_err(|_| refused("its address cannot be read"))?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(refused("it leads to another protocol"));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(refused("it leads from https to http"));
    }
    if to.scheme() == "http" && to.origin() != from.origin() && !is_insecure(&host_of(&to), insecure) {
        return Err(refused(&format!("{} is not configured for plain HTTP", host_of(&to))));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("its address has credentials in it"));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_tls_and_bring_no_credentials() {
        let to = |from: &str, location: &str| {
            redirect_target(&Url::parse(from).unwrap(), location, &["10.0.0.1".to_owned()])
        };
        assert_eq!(to("https://a/v2/x", "/y").unwrap().as_str(), "https://a/y");
        assert_eq!(to("https://a/v2/x", "https://cdn/y?sig=1").unwrap().as_str(), "https://cdn/y?sig=1");
        assert!(to("http://localhost:1/x", "http://127.0.0.1:2/y").is_ok());
        assert!(to("http://localhost:1/x", "http://10.0.0.1/y").is_ok());
        for (from, location) in [
            ("https://a/x", "http://a/x"),
            ("http://localhost:1/x", "http://evil.example/y"),
            ("https://a/x", "https://user:pw@b/y"),
            ("https://a/x", "file:///etc/passwd"),
            ("https://a/x", "ftp://b/y"),
        ] {
            assert!(to(from, location).is_err(), "{location}");
        }
    }

    #[test]
    fn an_error_body_is_read_without_trust() {
        let body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"repo\u001b[31m\nname"}]}"#;
        assert_eq!(registry_error(body), ("NAME_UNKNOWN".to_owned(), "repo[31mname".to_owned()));
        assert_eq!(registry_error(b"<html>"), Default::default());
        assert_eq!(registry_error(br#"{"errors":"x"}"#), Default::default());
    }
}
