//! PURE. Requests that a web page could have caused are refused: a page can make a browser that holds a client
//! certificate send requests here (CSRF), or give our address another name (DNS rebinding).

use http::{HeaderMap, StatusCode, header};

use crate::status_code::Failure;

/// Where a connection came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A unix socket: no browser reaches it, and clients write any Host.
    Unix,
    /// TCP with TLS; the server name that the client asked for in the handshake.
    Tls(Option<String>),
}

/// Checks Host and Origin of a request.
///
/// # Errors
/// 403 naming the header.
pub(crate) fn check(origin: &Origin, headers: &HeaderMap) -> Result<(), Failure> {
    let Origin::Tls(server_name) = origin else { return Ok(()) };
    let forbid = |message: &str| Err(Failure::new(StatusCode::FORBIDDEN, message));
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return forbid("requests of web pages are refused (Origin)");
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host_name(host);
    let literal = name.parse::<std::net::IpAddr>().is_ok();
    let known =
        literal || name == "localhost" || server_name.as_deref().is_some_and(|sni| sni.eq_ignore_ascii_case(name));
    if known { Ok(()) } else { forbid("the Host header names another machine") }
}

/// The host without its port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(origin: &Origin, pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        check(origin, &headers).is_ok()
    }

    #[test]
    fn over_tls_the_host_must_be_ours_and_no_page_may_ask() {
        let tls = Origin::Tls(Some("node.example".into()));
        assert!(verdict(&tls, &[("host", "node.example:2376")]));
        assert!(verdict(&tls, &[("host", "10.0.0.1:2376")]) && verdict(&tls, &[("host", "[::1]:2376")]));
        assert!(!verdict(&tls, &[("host", "evil.example")]) && !verdict(&tls, &[]));
        assert!(!verdict(&tls, &[("host", "10.0.0.1"), ("origin", "https://evil.example")]));
        assert!(!verdict(&tls, &[("host", "10.0.0.1"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn over_a_unix_socket_clients_write_any_host() {
        assert!(verdict(&Origin::Unix, &[("host", "docker")]) && verdict(&Origin::Unix, &[]));
    }
}
