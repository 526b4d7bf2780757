//! Blobs and manifests into a repository: asked for first, mounted from a neighbour where that is possible, else sent.
//!
//! Only the registry itself is written to, never a mirror. An upload that breaks goes on where the registry says it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderName, Method, StatusCode};
use reqwest::{Response, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;
use crate::image::manifest::ACCEPTED_MANIFESTS;

use super::client::{Failure, Repository, retry_after};
use super::endpoint::{Endpoint, host_of};

/// Bytes read of the file at once.
const READ_BYTES: usize = 256 << 10;
/// Up to this size a blob is sent in one request with its digest.
const MONOLITHIC_BYTES_MAX: u64 = 4 << 20;

/// What goes with a request. All of it can be sent again.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    None,
    Bytes(Bytes),
    /// A file from `offset` on; what has been read is added up.
    File {
        path: PathBuf,
        offset: u64,
        size: u64,
        sent: Arc<AtomicU64>,
    },
}

/// A request to a registry that changes something, or asks whether something is there.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload,
}

/// The place of a blob that is being sent.
#[derive(Debug)]
pub(crate) struct BlobFile {
    pub(crate) digest: Digest,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// It is linked from another repository.
    Yes,
    /// It has to be sent.
    No,
}

impl Repository {
    /// The address of the registry that answers: with TLS, or without where that is allowed.
    ///
    /// # Errors
    /// `Unavailable` when none answers.
    pub(crate) async fn origin(&self) -> Result<Endpoint> {
        let mut failed = None;
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.is_origin) {
            let ask = Outgoing {
                method: Method::GET,
                url: endpoint.base.clone(),
                headers: Vec::new(),
                payload: Payload::None,
            };
            match self.once(endpoint, &ask).await {
                Ok(_) => {
                    self.note_plain(endpoint);
                    return Ok(endpoint.clone());
                }
                Err(Failure::Answered(error)) => return Err(error),
                Err(Failure::Unreachable(error)) => failed = Some(error),
            }
        }
        let nobody =
            || Error::new(ErrorKind::Unavailable, format!("registry {} has no address", self.reference.domain()));
        Err(failed.unwrap_or_else(nobody))
    }

    /// Whether the credentials are good: the registry's front door is asked with them.
    ///
    /// # Errors
    /// `Unauthorized` when they are refused.
    pub(crate) async fn check_credentials(&self) -> Result<()> {
        let endpoint = self.origin().await?;
        let ask =
            Outgoing { method: Method::GET, url: endpoint.base.clone(), headers: Vec::new(), payload: Payload::None };
        let refused = |why: String| {
            let text = format!("Get \"{}\": unauthorized: {why}", endpoint.base);
            Error::new(ErrorKind::Unauthorized, text)
        };
        match self.exchange(&endpoint, ask).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(refused("incorrect username or password".to_owned()))
            }
            Ok(response) => Err(self.refusal(&endpoint, response).await),
            Err(error) if error.kind() == ErrorKind::Unauthorized => {
                Err(refused("incorrect username or password".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, endpoint: &Endpoint, digest: Digest) -> Result<bool> {
        self.has(endpoint, &format!("blobs/{digest}")).await
    }

    /// Whether the repository has a manifest.
    pub(crate) async fn has_manifest(&self, endpoint: &Endpoint, digest: Digest) -> Result<bool> {
        self.has(endpoint, &format!("manifests/{digest}")).await
    }

    async fn has(&self, endpoint: &Endpoint, path: &str) -> Result<bool> {
        let url = self.address(endpoint, path)?;
        let headers = vec![(ACCEPT, ACCEPTED_MANIFESTS.to_owned())];
        let response = self.exchange(endpoint, Outgoing { method: Method::HEAD, url, headers, payload: Payload::None });
        let response = response.await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            // A redirect to where the bytes are.
            status if status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(endpoint, response).await),
        }
    }

    /// Links a blob of another repository of the same registry into this one.
    pub(crate) async fn mount_blob(&self, endpoint: &Endpoint, digest: Digest, from: &str) -> Result<Mounted> {
        let mut url = self.address(endpoint, "blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        let headers = vec![(CONTENT_LENGTH, "0".to_owned())];
        let response = self.exchange(endpoint, Outgoing { method: Method::POST, url, headers, payload: Payload::None });
        let response = response.await?;
        match response.status() {
            StatusCode::CREATED => Ok(Mounted::Yes),
            // An upload was begun instead: it is given up, so that it does not wait for its end.
            StatusCode::ACCEPTED => {
                if let Ok(location) = self.location(endpoint, &response) {
                    let cancel =
                        Outgoing { method: Method::DELETE, url: location, headers: Vec::new(), payload: Payload::None };
                    drop(self.exchange(endpoint, cancel).await);
                }
                Ok(Mounted::No)
            }
            _ => Ok(Mounted::No),
        }
    }

    /// Sends a blob; `sent` counts its bytes.
    pub(crate) async fn upload_blob(&self, endpoint: &Endpoint, blob: &BlobFile, sent: &Arc<AtomicU64>) -> Result<()> {
        let attempts_max = self.registry.settings.attempts_max.max(1);
        let mut failed = None;
        for attempt in 0..attempts_max {
            sent.store(0, Ordering::Relaxed);
            match self.upload_once(endpoint, blob, sent).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, digest = %blob.digest, attempt, "an upload broke off");
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let fallback = || Error::new(ErrorKind::Unavailable, format!("blob {} could not be sent", blob.digest));
        Err(failed.unwrap_or_else(fallback))
    }

    async fn upload_once(&self, endpoint: &Endpoint, blob: &BlobFile, sent: &Arc<AtomicU64>) -> Result<()> {
        let begin = Outgoing {
            method: Method::POST,
            url: self.address(endpoint, "blobs/uploads/")?,
            headers: vec![(CONTENT_LENGTH, "0".to_owned())],
            payload: Payload::None,
        };
        let response = self.exchange(endpoint, begin).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refusal(endpoint, response).await);
        }
        let mut location = self.location(endpoint, &response)?;
        let file =
            |offset: u64| Payload::File { path: blob.path.clone(), offset, size: blob.size, sent: Arc::clone(sent) };
        let mut payload = file(0);
        if blob.size > MONOLITHIC_BYTES_MAX {
            location = self.send_chunks(endpoint, blob, location, sent).await?;
            payload = Payload::None;
        }
        location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let length = if matches!(payload, Payload::None) { 0 } else { blob.size };
        let headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, length.to_string())];
        let finish = Outgoing { method: Method::PUT, url: location, headers, payload };
        let response = self.exchange(endpoint, finish).await?;
        if response.status() == StatusCode::CREATED || response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(self.refusal(endpoint, response).await)
    }

    /// Sends all bytes; when the connection breaks, from where the registry says it is. Answers where to finish.
    async fn send_chunks(
        &self,
        endpoint: &Endpoint,
        blob: &BlobFile,
        first: Url,
        sent: &Arc<AtomicU64>,
    ) -> Result<Url> {
        let (mut location, mut offset) = (first, 0);
        let attempts_max = self.registry.settings.attempts_max.max(1);
        for attempt in 1..=attempts_max {
            sent.store(offset, Ordering::Relaxed);
            let mut headers = vec![
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CONTENT_LENGTH, (blob.size - offset).to_string()),
            ];
            if offset > 0 {
                headers.push((CONTENT_RANGE, format!("{offset}-{}", blob.size - 1)));
            }
            let payload = Payload::File { path: blob.path.clone(), offset, size: blob.size, sent: Arc::clone(sent) };
            let chunk = Outgoing { method: Method::PATCH, url: location.clone(), headers, payload };
            let answer = self.exchange_once(endpoint, chunk).await;
            match answer {
                Ok(response) if matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) => {
                    return self.location(endpoint, &response);
                }
                Ok(response) if !response.status().is_server_error() => {
                    return Err(self.refusal(endpoint, response).await);
                }
                Ok(response) if attempt == attempts_max => return Err(self.refusal(endpoint, response).await),
                Err(error) if attempt == attempts_max => return Err(error),
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(super::client::BACKOFF_FIRST * 2_u32.saturating_pow(attempt - 1)).await;
            (location, offset) = self.where_it_is(endpoint, &location).await?;
        }
        Err(Error::new(ErrorKind::Unavailable, format!("blob {} could not be sent", blob.digest)))
    }

    /// How far an upload has come.
    async fn where_it_is(&self, endpoint: &Endpoint, location: &Url) -> Result<(Url, u64)> {
        let ask = Outgoing { method: Method::GET, url: location.clone(), headers: Vec::new(), payload: Payload::None };
        let response = self.exchange(endpoint, ask).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(Error::new(ErrorKind::Unavailable, "the registry has forgotten an upload"));
        }
        let range = response.headers().get(RANGE).and_then(|v| v.to_str().ok()).unwrap_or("0-0");
        let last: u64 = range.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((self.location(endpoint, &response)?, if last == 0 { 0 } else { last + 1 }))
    }

    /// Stores a manifest under a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        endpoint: &Endpoint,
        target: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let url = self.address(endpoint, &format!("manifests/{target}"))?;
        let headers = vec![(CONTENT_TYPE, media_type.to_owned())];
        let put = Outgoing { method: Method::PUT, url, headers, payload: Payload::Bytes(bytes.into()) };
        let response = self.exchange(endpoint, put).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refusal(endpoint, response).await)
    }

    fn address(&self, endpoint: &Endpoint, path: &str) -> Result<Url> {
        let whole = format!("{}/{path}", self.reference.path());
        endpoint.base.join(&whole).map_err(|e| Error::internal(format!("address of {path}")).with_source(e))
    }

    /// Where an upload goes on; another host is refused, as it would get our bytes.
    fn location(&self, endpoint: &Endpoint, response: &Response) -> Result<Url> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Unavailable, format!("registry {}: the address of an upload {why}", endpoint.host()))
        };
        let text = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).ok_or_else(|| wrong("is missing"))?;
        let mut url = endpoint.base.join(text).map_err(|_| wrong("cannot be read"))?;
        if host_of(&url) != host_of(&endpoint.base) {
            return Err(wrong("leads to another host"));
        }
        // A registry behind a proxy may not know that it is reached by TLS.
        if endpoint.base.scheme() == "https" && url.scheme() == "http" {
            url.set_scheme("https").map_err(|()| wrong("cannot be read"))?;
        }
        Ok(url)
    }

    /// A request with authentication and retries.
    pub(super) async fn exchange(&self, endpoint: &Endpoint, request: Outgoing) -> Result<Response> {
        let attempts_max = self.registry.settings.attempts_max.max(1);
        let mut attempt = 1;
        loop {
            let answer = self.exchange_once(endpoint, request.clone()).await;
            let wait = match &answer {
                Ok(response) if super::client::may_pass(response.status()) => retry_after(response),
                Err(error) if error.kind() == ErrorKind::Unavailable => None,
                _ => return answer,
            };
            if attempt >= attempts_max {
                return answer;
            }
            let backoff = super::client::BACKOFF_FIRST * 2_u32.saturating_pow(attempt - 1);
            tokio::time::sleep(wait.unwrap_or(backoff).min(self.registry.settings.retry_after_max)).await;
            attempt += 1;
        }
    }

    /// A request with authentication: asked for once, given once.
    async fn exchange_once(&self, endpoint: &Endpoint, request: Outgoing) -> Result<Response> {
        let plain = |failure: Failure| match failure {
            Failure::Unreachable(error) | Failure::Answered(error) => error,
        };
        let response = self.once(endpoint, &request).await.map_err(plain)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.authenticate(endpoint, &response).await?;
        self.once(endpoint, &request).await.map_err(plain)
    }

    async fn once(&self, endpoint: &Endpoint, request: &Outgoing) -> Result<Response, Failure> {
        let host = host_of(&request.url);
        let streams = matches!(request.payload, Payload::File { .. });
        let client = self.registry.client_for(&endpoint.tls, &host, streams).await.map_err(Failure::Answered)?;
        let mut builder = client.request(request.method.clone(), request.url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in &endpoint.headers {
            builder = builder.header(name, value);
        }
        if let Some(authorization) = self.known_authorization(endpoint) {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        builder = match &request.payload {
            Payload::None => builder,
            Payload::Bytes(bytes) => builder.body(bytes.clone()),
            Payload::File { path, offset, size, sent } => {
                builder.body(file_body(path.clone(), *offset, *size - *offset, Arc::clone(sent)))
            }
        };
        let unavailable = |why: String| Error::new(ErrorKind::Unavailable, format!("registry {host}: {why}"));
        let limit = self.registry.settings.stall_timeout;
        let counter = match &request.payload {
            Payload::File { sent, .. } => Arc::clone(sent),
            _ => Arc::default(),
        };
        let mut answer = std::pin::pin!(builder.send());
        let mut before = counter.load(Ordering::Relaxed);
        // As long as bytes go out it is not stalled.
        let answer = loop {
            match tokio::time::timeout(limit, &mut answer).await {
                Ok(answer) => break answer,
                Err(_) if counter.load(Ordering::Relaxed) != before => before = counter.load(Ordering::Relaxed),
                Err(_) => return Err(Failure::Unreachable(unavailable(format!("no answer within {limit:?}")))),
            }
        };
        answer.map_err(|error| Failure::Unreachable(unavailable(super::client::transport_reason(error))))
    }
}

/// A file as a body, counted as it goes out.
fn file_body(path: PathBuf, offset: u64, length: u64, sent: Arc<AtomicU64>) -> reqwest::Body {
    let start = async move {
        let mut file = tokio::fs::File::open(path).await?;
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok::<_, std::io::Error>(file.take(length))
    };
    let pieces = futures_util::stream::once(start).map(move |file| pieces_of(file, Arc::clone(&sent))).flatten();
    reqwest::Body::wrap_stream(pieces)
}

fn pieces_of(
    file: std::io::Result<tokio::io::Take<tokio::fs::File>>,
    sent: Arc<AtomicU64>,
) -> futures_util::stream::BoxStream<'static, std::io::Result<Bytes>> {
    match file {
        Err(error) => futures_util::stream::once(async move { Err(error) }).boxed(),
        Ok(file) => tokio_util::io::ReaderStream::with_capacity(file, READ_BYTES)
            .inspect(move |piece| {
                if let Ok(bytes) = piece {
                    sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            })
            .boxed(),
    }
}
