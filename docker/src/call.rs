//! One request on its way to its endpoint.

use std::sync::Arc;

use docker_api::JsonError;
use engine::Engine;
use engine::container::ContainerView;
use engine::id::Owner;
use engine::{ContainerHandle, Error, ErrorKind};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::api_version::ApiVersion;
use crate::query::Query;
use crate::request_body;
use crate::server::{Door, Way};
use crate::status_code::Failure;
use crate::tap::Tap;

/// A request with its path taken apart, and what carries it.
pub(crate) struct Call {
    /// Engine and settings.
    pub(crate) door: Arc<Door>,
    /// Version that the client speaks.
    pub(crate) version: ApiVersion,
    /// Parameters of the path, in order.
    pub(crate) params: Vec<String>,
    /// Query.
    pub(crate) query: Query,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body, until it is read.
    pub(crate) body: Option<Incoming>,
    /// Set when the client asked to upgrade.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The connection under HTTP, for clients that take it over without asking to upgrade.
    pub(crate) tap: Tap,
    /// Cancelled when the client has closed the connection.
    pub(crate) gone: CancellationToken,
}

impl Call {
    /// Takes a request apart.
    pub(crate) fn new(
        mut request: Request<Incoming>,
        way: Way,
        door: Arc<Door>,
        version: ApiVersion,
        params: Vec<String>,
    ) -> Self {
        let wants_upgrade = request.headers().contains_key(header::UPGRADE);
        let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (parts, body) = request.into_parts();
        let Way { tap, gone, .. } = way;
        Self { door, version, params, query, headers: parts.headers, body: Some(body), upgrade, tap, gone }
    }
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.door.engine
    }
    /// The first parameter of the path.
    pub(crate) fn name(&self) -> &str {
        self.params.first().map(String::as_str).unwrap_or_default()
    }
    /// The container that the path names.
    pub(crate) fn container(&self) -> Result<ContainerHandle, Error> {
        self.engine().container(self.name())
    }
    /// The container that the path names, to be changed. One of a pod is its kubelet's, which would undo the change or be
    /// misled by it: it is changed only with `force=1`.
    pub(crate) fn own_container(&self) -> Result<ContainerHandle, Error> {
        let container = self.container()?;
        let view = container.view();
        if view.spec.owner == Owner::Docker || self.query.flag("force") {
            return Ok(container);
        }
        let text = format!(
            "container {} belongs to a pod: its kubelet decides about it; use --force (force=1) to change it all the same",
            view.name
        );
        Err(Error::new(ErrorKind::Forbidden, text))
    }
    /// The view of the container that the path names.
    pub(crate) fn view(&self) -> Result<Arc<ContainerView>, Error> {
        Ok(self.container()?.view())
    }
    /// Reads the body as JSON; `None` when there is none.
    ///
    /// # Errors
    /// 400 for another content type or malformed JSON, 413 for a body over the limit.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        docker_api::from_slice(&bytes).map(Some).map_err(invalid_json)
    }
    /// Reads the body as JSON that must be there.
    ///
    /// # Errors
    /// As [`Call::json`], and 400 when there is none.
    pub(crate) async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let missing = || Failure::bad_request("invalid JSON: got EOF while reading request body");
        self.json().await?.ok_or_else(missing)
    }
    /// The bytes of a JSON body.
    ///
    /// # Errors
    /// As [`Call::json`].
    pub(crate) async fn json_bytes(&mut self) -> Result<bytes::Bytes, Failure> {
        let Some(mut body) = self.body.take() else { return Ok(bytes::Bytes::new()) };
        if body.is_end_stream() {
            return Ok(bytes::Bytes::new());
        }
        let kind = self.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let limit = self.door.settings.json_bytes_max;
        let bytes = match Limited::new(&mut body, limit).collect().await {
            Ok(read) => read.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                request_body::drop_rest(body);
                let message = format!("the request body is larger than {limit} bytes");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Err(error) => return Err(Failure::bad_request(format!("cannot read the request body: {error}"))),
        };
        let media = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !bytes.is_empty() && !media.eq_ignore_ascii_case("application/json") {
            return Err(Failure::bad_request(format!(
                "unsupported Content-Type header ({}): must be 'application/json'",
                kind.unwrap_or_default()
            )));
        }
        Ok(bytes)
    }
}

/// 400 with the field that is wrong.
pub(crate) fn invalid_json(error: JsonError) -> Failure {
    Failure::bad_request(format!("invalid JSON: {error}"))
}
