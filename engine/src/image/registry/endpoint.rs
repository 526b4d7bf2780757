//! PURE. Where a registry is reached: mirrors first, then the registry itself, each with what it may be trusted with.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

use crate::error::{Error, Result};

/// The registry behind `docker.io`.
const DOCKER_HUB: &str = "https://registry-1.docker.io";

/// How to speak TLS with an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsOptions {
    /// Authorities beside the system's.
    pub(crate) ca_files: Vec<PathBuf>,
    /// Certificate and key to show; one file may hold both.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// Takes any certificate.
    pub(crate) skip_verify: bool,
}

/// One place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://host:port/v2/` with a slash at its end.
    pub(crate) base: Url,
    pub(crate) tls: TlsOptions,
    /// Headers sent to it and to nobody else.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether tags may be resolved here (a cache may serve blobs only).
    pub(crate) resolves: bool,
    /// Whether it serves manifests by digest and blobs.
    pub(crate) pulls: bool,
    /// The registry itself, which credentials are for; not a mirror.
    pub(crate) is_origin: bool,
}

impl Endpoint {
    /// `host:port` for messages.
    pub(crate) fn host(&self) -> String {
        host_of(&self.base)
    }
}

/// `host` or `host:port` of a URL.
pub(crate) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => String::new(),
    }
}

/// Whether `registry` (`host[:port]`) is this machine.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = host_part(registry);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn host_part(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    registry.rsplit_once(':').map_or(registry, |(host, _)| host)
}

/// Whether `registry` is in the list of those that may do without proper TLS, by `host:port` or by `host`.
pub(crate) fn is_insecure(registry: &str, insecure: &[String]) -> bool {
    is_loopback(registry) || insecure.iter().any(|entry| entry == registry || entry == host_part(registry))
}

/// The registry itself, without any mirror: twice for one that may be spoken to in the clear, TLS first.
pub(crate) fn origins(registry: &str, insecure: &[String]) -> Result<Vec<Endpoint>> {
    let plain_allowed = is_insecure(registry, insecure);
    let tls = TlsOptions { skip_verify: plain_allowed, ..TlsOptions::default() };
    let origin = |url: String, tls: TlsOptions| -> Result<Endpoint> {
        let base = base_url(&url, false)?;
        Ok(Endpoint { base, tls, headers: Vec::new(), resolves: true, pulls: true, is_origin: true })
    };
    if registry == "docker.io" {
        return Ok(vec![origin(DOCKER_HUB.to_owned(), TlsOptions::default())?]);
    }
    let mut endpoints = vec![origin(format!("https://{registry}"), tls)?];
    if plain_allowed {
        endpoints.push(origin(format!("http://{registry}"), TlsOptions::default())?);
    }
    Ok(endpoints)
}

/// A mirror given as a URL only.
pub(crate) fn mirror(url: &str, insecure: &[String]) -> Result<Endpoint> {
    let base = base_url(url, false)?;
    let host = host_of(&base);
    if base.scheme() == "http" && !is_insecure(&host, insecure) {
        return Err(Error::invalid(format!("mirror {url}: plain HTTP needs {host} in insecure_registries")));
    }
    let tls = TlsOptions { skip_verify: is_insecure(&host, insecure), ..TlsOptions::default() };
    Ok(Endpoint { base, tls, headers: Vec::new(), resolves: true, pulls: true, is_origin: false })
}

/// The base of all requests: the URL with `/v2/`, unless the path is taken as it is (`override_path`).
pub(crate) fn base_url(text: &str, override_path: bool) -> Result<Url> {
    let wrong = |why: &str| Error::invalid(format!("registry address {text:?}: {why}"));
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https are spoken"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("credentials do not belong into an address"));
    }
    if url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it must be scheme://host[:port][/path]"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if override_path || path.ends_with("/v2") { format!("{path}/") } else { format!("{path}/v2/") };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(registry: &str, insecure: &[&str]) -> Vec<String> {
        let insecure: Vec<String> = insecure.iter().map(|s| (*s).to_owned()).collect();
        origins(registry, &insecure).unwrap().into_iter().map(|e| e.base.to_string()).collect()
    }

    #[test]
    fn only_loopback_and_configured_registries_are_tried_in_the_clear() {
        assert_eq!(bases("docker.io", &[]), ["https://registry-1.docker.io/v2/"]);
        assert_eq!(bases("example.com:5000", &[]), ["https://example.com:5000/v2/"]);
        assert_eq!(bases("localhost:5000", &[]), ["https://localhost:5000/v2/", "http://localhost:5000/v2/"]);
        assert_eq!(bases("[::1]:5000", &[]), ["https://[::1]:5000/v2/", "http://[::1]:5000/v2/"]);
        assert_eq!(bases("127.8.8.8", &[]).len(), 2);
        assert_eq!(bases("10.0.0.1:5000", &["10.0.0.1:5000"]).len(), 2);
        assert_eq!(bases("10.0.0.1:5000", &["10.0.0.1"]).len(), 2);
        assert_eq!(bases("10.0.0.1:5000", &["10.0.0.1:5001"]).len(), 1);
        assert_eq!(bases("localhost.example.com", &[]).len(), 1);
        assert!(mirror("http://example.com", &[]).is_err());
        assert!(mirror("http://localhost:1", &[]).is_ok());
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(base_url("https://h/prefix", false).unwrap().as_str(), "https://h/prefix/v2/");
        assert_eq!(base_url("https://h/v2/prefix", true).unwrap().as_str(), "https://h/v2/prefix/");
        assert_eq!(base_url("h:1", false).unwrap().as_str(), "https://h:1/v2/");
        for text in ["ftp://h", "https://u:p@h", "https://h?x=1", "https://", "http://h#f"] {
            assert!(base_url(text, false).is_err(), "{text}");
        }
    }
}
