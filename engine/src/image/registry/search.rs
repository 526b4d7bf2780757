//! `GET /v1/search`: Docker Hub's index, and registries that offer the same.
//!
//! The distribution protocol (version 2) has no search. A registry that speaks only that says so by 404.

use http::StatusCode;
use reqwest::{Response, Url};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

use super::client::{Registry, read_at_most, transport_reason};
use super::credential::RegistryAuth;
use super::endpoint::{Endpoint, host_of, origins};

/// Docker Hub's index; its registry is another host.
const HUB_INDEX: &str = "https://index.docker.io/v1/search";
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Characters of a term.
const TERM_CHARS_MAX: usize = 255;

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// Stars.
    pub star_count: i64,
    /// One of Docker's own.
    pub is_official: bool,
    /// Built automatically; no longer told by Docker Hub.
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    results: Option<Vec<SearchResult>>,
}

impl Registry {
    /// Searches for `term` or `host/term`; at most `limit` results.
    ///
    /// # Errors
    /// `InvalidArgument` for the term; `NotImplemented` for a registry without search; `Unavailable`, `Unauthorized`.
    pub(crate) async fn search(
        &self,
        term: &str,
        limit: usize,
        auth: Option<&RegistryAuth>,
    ) -> Result<Vec<SearchResult>> {
        let (host, term) = split(term)?;
        let auth = auth.filter(|auth| auth.is_for(host) && !auth.username.is_empty());
        let mut failed = None;
        for endpoint in origins(host, &self.settings.insecure_registries)? {
            let mut url = address(&endpoint, host)?;
            url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
            match self.ask(&endpoint, url, auth).await {
                Ok(response) => return results(host, response, limit).await,
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal(format!("{host} has no address"))))
    }

    async fn ask(&self, endpoint: &Endpoint, url: Url, auth: Option<&RegistryAuth>) -> Result<Response> {
        let host = host_of(&url);
        let client = self.client(&endpoint.tls, &host).await?;
        let mut request = client.get(url).header(http::header::ACCEPT, "application/json");
        if let Some(auth) = auth {
            request = request.basic_auth(&auth.username, Some(&auth.password));
        }
        let unavailable = |why: String| Error::new(ErrorKind::Unavailable, format!("search at {host}: {why}"));
        let limit = self.settings.stall_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unavailable(transport_reason(error))),
            Err(_) => Err(unavailable(format!("no answer within {limit:?}"))),
        }
    }
}

/// PURE. The registry to search, and for what.
fn split(term: &str) -> Result<(&str, &str)> {
    let wrong = |why: &str| Error::invalid(format!("search term {term:?}: {why}"));
    if term.contains("://") {
        return Err(wrong("a term has no scheme (http://, https://)"));
    }
    let (host, rest) = match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("docker.io", term),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    if rest.is_empty() || rest.chars().count() > TERM_CHARS_MAX {
        return Err(wrong("it must have 1 to 255 characters"));
    }
    Ok((host, rest))
}

fn address(endpoint: &Endpoint, host: &str) -> Result<Url> {
    let url = if host == "docker.io" { Url::parse(HUB_INDEX) } else { endpoint.base.join("../v1/search") };
    url.map_err(|e| Error::internal(format!("address of the search at {host}")).with_source(e))
}

async fn results(host: &str, response: Response, limit: usize) -> Result<Vec<SearchResult>> {
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return Err(Error::not_implemented(format!("registry {host} offers no search (it has no /v1/search)")));
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Error::new(ErrorKind::Unauthorized, format!("search at {host}: it answered {status}")));
        }
        _ => return Err(Error::new(ErrorKind::Unavailable, format!("search at {host}: it answered {status}"))),
    }
    let body = read_at_most(response, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let answer: Answer = serde_json::from_slice(&body).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("search at {host}: its answer is not what a search answers"))
            .with_source(e)
    })?;
    let mut found = answer.results.unwrap_or_default();
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_name_its_registry() {
        assert_eq!(split("busybox").unwrap(), ("docker.io", "busybox"));
        assert_eq!(split("library/busybox").unwrap(), ("docker.io", "library/busybox"));
        assert_eq!(split("index.docker.io/x/y").unwrap(), ("docker.io", "x/y"));
        assert_eq!(split("localhost:5000/x").unwrap(), ("localhost:5000", "x"));
        assert_eq!(split("localhost/x").unwrap(), ("localhost", "x"));
        for wrong in ["", "https://x/y", "example.com/", &"x".repeat(256)] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_index_of_docker_hub_is_another_host_than_its_registry() {
        let of = |host: &str| {
            let endpoints = origins(host, &[]).unwrap();
            endpoints.iter().map(|e| address(e, host).unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("docker.io"), [HUB_INDEX]);
        assert_eq!(of("example.com:5000"), ["https://example.com:5000/v1/search"]);
        assert_eq!(of("localhost:1").last().unwrap(), "http://localhost:1/v1/search");
    }
}
