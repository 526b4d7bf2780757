//! Manifests and blobs out of a repository.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use reqwest::Response;

use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;
use crate::image::manifest::{ACCEPTED_MANIFESTS, MANIFEST_BYTES_MAX};

use super::client::{Purpose, Repository, transport_reason};

/// A manifest or index as it came.
#[derive(Debug)]
pub(crate) struct FetchedManifest {
    pub(crate) bytes: Vec<u8>,
    /// `Content-Type` without parameters; empty if there was none.
    pub(crate) content_type: String,
    pub(crate) digest: Digest,
}

/// A blob on its way.
#[derive(Debug)]
pub(crate) struct BlobAnswer {
    response: Response,
    /// Which byte of the blob comes first: the wanted one, or 0 when the registry sends it whole.
    pub(crate) start: u64,
}

impl BlobAnswer {
    /// The next bytes; `None` at the end of the body, which need not be the end of the blob.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke or nothing came for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        self.response.chunk().await.map_err(|e| Error::new(ErrorKind::Unavailable, transport_reason(e)))
    }
}

impl Repository {
    /// The manifest that `target` (a tag or a digest) stands for.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Unavailable`; `InvalidArgument` when it is too long or not what the digest says.
    pub(crate) async fn manifest(&self, target: &str) -> Result<FetchedManifest> {
        let wanted = target.parse::<Digest>().ok();
        let purpose = if wanted.is_some() { Purpose::Pull } else { Purpose::Resolve };
        let mut response = self.get(purpose, &format!("manifests/{target}"), ACCEPTED_MANIFESTS, None).await?;
        let header =
            |name| response.headers().get(name).and_then(|v: &http::HeaderValue| v.to_str().ok()).unwrap_or("");
        let content_type = header(CONTENT_TYPE).split(';').next().unwrap_or("").trim().to_owned();
        let too_long =
            || Error::invalid(format!("manifest of {} is longer than {MANIFEST_BYTES_MAX} bytes", self.reference));
        if header(CONTENT_LENGTH).parse::<u64>().is_ok_and(|length| length > MANIFEST_BYTES_MAX as u64) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let broken =
            |e| Error::new(ErrorKind::Unavailable, format!("manifest of {}: {}", self.reference, transport_reason(e)));
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            if bytes.len() + piece.len() > MANIFEST_BYTES_MAX {
                return Err(too_long());
            }
            bytes.extend_from_slice(&piece);
        }
        let digest = Digest::of(&bytes);
        if wanted.is_some_and(|wanted| wanted != digest) {
            let text = format!("manifest verification failed for digest {target}: the registry sent {digest}");
            return Err(Error::invalid(text));
        }
        Ok(FetchedManifest { bytes, content_type, digest })
    }

    /// The blob `digest` from byte `from` on, if the registry can; else from its beginning.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Unavailable`.
    pub(crate) async fn blob(&self, digest: Digest, from: u64) -> Result<BlobAnswer> {
        let path = format!("blobs/{digest}");
        let wanted = (from > 0).then_some(from);
        let response = self.get(Purpose::Pull, &path, "*/*", wanted).await.map_err(|e| self.blob_error(digest, e))?;
        if response.status() == StatusCode::OK {
            return Ok(BlobAnswer { response, start: 0 });
        }
        if response.status() == StatusCode::PARTIAL_CONTENT && range_start(&response) == wanted && from > 0 {
            return Ok(BlobAnswer { response, start: from });
        }
        if wanted.is_none() {
            let text = format!("blob {digest}: the registry answered {} to a whole request", response.status());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // The range was misunderstood: ask for the whole once, and pass over what is here already.
        tracing::debug!(%digest, status = %response.status(), "the registry does not serve ranges properly");
        drop(response);
        let response = self.get(Purpose::Pull, &path, "*/*", None).await.map_err(|e| self.blob_error(digest, e))?;
        if response.status() == StatusCode::OK {
            return Ok(BlobAnswer { response, start: 0 });
        }
        let text = format!("blob {digest}: the registry answered {} to a whole request", response.status());
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    fn blob_error(&self, digest: Digest, error: Error) -> Error {
        if error.kind() == ErrorKind::NotFound {
            return Error::not_found(format!(
                "blob {digest} of {} not found: blob unknown to registry",
                self.reference.familiar()
            ));
        }
        error
    }
}

/// The first byte that `Content-Range: bytes <first>-<last>/<total>` speaks of.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
