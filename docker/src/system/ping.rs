//! `/_ping`, and the headers that tell clients whom they talk to.

use http::{HeaderValue, StatusCode};

use crate::api_version;
use crate::call::Call;
use crate::reply::{self, Outcome};

/// Headers of every answer, beside Api-Version.
pub(crate) const COMMON_HEADERS: &[(&str, &str)] = &[
    ("docker-experimental", "false"),
    ("ostype", "linux"),
    ("server", concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")),
];

/// The version that this engine declares.
pub(crate) fn api_version_header() -> HeaderValue {
    HeaderValue::from_str(&api_version::CURRENT.to_string()).unwrap_or(HeaderValue::from_static("1.24"))
}

pub(crate) async fn ping(_: Call) -> Outcome {
    let mut response = reply::text(StatusCode::OK, "OK");
    let headers = response.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    // Clients that can choose BuildKit's endpoints; the classic one is there as well.
    headers.insert("builder-version", HeaderValue::from_static("2"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}
