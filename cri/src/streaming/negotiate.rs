//! PURE. From the head of a request to the protocol that its session speaks.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::status::StatusForm;
use super::websocket::Framing;

/// Where SPDY clients name the versions that they speak.
pub(super) const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Where a refusal names the versions that we speak.
pub(super) const ACCEPTED_VERSION: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// What carries the session.
    pub(super) carrier: Carrier,
    /// The version's name, to be told to the client; empty for the one that needs no name.
    pub(super) name: &'static str,
}

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// SPDY/3.1 streams.
    Spdy(Version),
    /// Channels in WebSocket messages.
    WebSocket(Framing, StatusForm),
    /// SPDY/3.1 streams in WebSocket messages.
    Tunnel,
}

/// What differs between versions over SPDY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// The form of the last word.
    pub(super) status: StatusForm,
    /// Whether the size of a terminal can be told.
    pub(super) resize: bool,
}

const fn spdy(name: &'static str, status: StatusForm, resize: bool) -> Agreed {
    Agreed { carrier: Carrier::Spdy(Version { status, resize }), name }
}

const fn web_socket(name: &'static str, framing: Framing, status: StatusForm) -> Agreed {
    Agreed { carrier: Carrier::WebSocket(framing, status), name }
}

/// Exec and attach over SPDY.
const COMMAND_SPDY: [Agreed; 5] = [
    spdy("v5.channel.k8s.io", StatusForm::Json, true),
    spdy("v4.channel.k8s.io", StatusForm::Json, true),
    spdy("v3.channel.k8s.io", StatusForm::Text, true),
    spdy("v2.channel.k8s.io", StatusForm::Text, false),
    spdy("channel.k8s.io", StatusForm::Text, false),
];
/// Exec and attach over WebSocket.
const COMMAND_WEB_SOCKET: [Agreed; 6] = [
    web_socket("v5.channel.k8s.io", Framing::BinaryWithClose, StatusForm::Json),
    web_socket("v4.channel.k8s.io", Framing::Binary, StatusForm::Json),
    web_socket("v4.base64.channel.k8s.io", Framing::Base64, StatusForm::Json),
    web_socket("channel.k8s.io", Framing::Binary, StatusForm::Text),
    web_socket("base64.channel.k8s.io", Framing::Base64, StatusForm::Text),
    web_socket("", Framing::Binary, StatusForm::Text),
];
/// Port-forward over SPDY.
const FORWARD_SPDY: [Agreed; 1] = [spdy("portforward.k8s.io", StatusForm::Text, false)];
/// Port-forward over WebSocket.
const FORWARD_WEB_SOCKET: [Agreed; 4] = [
    Agreed { carrier: Carrier::Tunnel, name: "SPDY/3.1+portforward.k8s.io" },
    web_socket("v4.channel.k8s.io", Framing::Binary, StatusForm::Text),
    web_socket("v4.base64.channel.k8s.io", Framing::Base64, StatusForm::Text),
    web_socket("", Framing::Binary, StatusForm::Text),
];

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    /// Versions that would have been accepted.
    pub(super) accepted: Vec<&'static str>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), accepted: Vec::new() }
    }
}

/// Agrees on a protocol with a client that sent these headers to the path of `verb`.
pub(super) fn agree(verb: &str, headers: &HeaderMap) -> Result<Agreed, Refused> {
    let forward = verb == "portforward";
    let upgrades = |to: &str| list(headers, &header::UPGRADE).any(|name| name.eq_ignore_ascii_case(to));
    let asked = list(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    if asked && upgrades("websocket") {
        check_web_socket(headers)?;
        let ours: &[Agreed] = if forward { &FORWARD_WEB_SOCKET } else { &COMMAND_WEB_SOCKET };
        return choose(ours, list(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect());
    }
    if asked && upgrades("SPDY/3.1") {
        let ours: &[Agreed] = if forward { &FORWARD_SPDY } else { &COMMAND_SPDY };
        let theirs: Vec<&str> = list(headers, &STREAM_VERSION).collect();
        if theirs.is_empty() {
            let reason = format!("unable to upgrade: {STREAM_VERSION} is required");
            return Err(Refused::new(StatusCode::BAD_REQUEST, reason));
        }
        return choose(ours, theirs);
    }
    let reason = "unable to upgrade: this needs Connection: Upgrade with Upgrade: SPDY/3.1 or Upgrade: websocket";
    Err(Refused::new(StatusCode::BAD_REQUEST, reason))
}

fn check_web_socket(headers: &HeaderMap) -> Result<(), Refused> {
    let bad = |reason: &str| Err(Refused::new(StatusCode::BAD_REQUEST, format!("unable to upgrade: {reason}")));
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return bad("Sec-WebSocket-Version must be 13");
    }
    if headers.get(header::SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        return bad("Sec-WebSocket-Key must be 16 bytes in base64");
    }
    Ok(())
}

/// The first of the client's versions that is one of ours.
fn choose(ours: &[Agreed], theirs: Vec<&str>) -> Result<Agreed, Refused> {
    let wanted: &[&str] = if theirs.is_empty() { &[""] } else { &theirs };
    let chosen = wanted.iter().find_map(|name| ours.iter().find(|agreed| agreed.name == *name));
    chosen.copied().ok_or_else(|| {
        let accepted: Vec<&str> = ours.iter().map(|agreed| agreed.name).filter(|name| !name.is_empty()).collect();
        let reason =
            format!("unable to negotiate a protocol: the client supports {theirs:?}, the server accepts {accepted:?}");
        Refused { accepted, ..Refused::new(StatusCode::FORBIDDEN, reason) }
    })
}

/// All items of a header whose values are lists, over all its lines.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    const SPDY: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    const WEB_SOCKET: [(&str, &str); 4] = [
        ("connection", "keep-alive, upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn name_of(
        verb: &str,
        base: &[(&'static str, &'static str)],
        more: &[(&'static str, &'static str)],
    ) -> &'static str {
        agree(verb, &headers(&[base, more].concat())).unwrap().name
    }

    #[test]
    fn the_clients_first_that_we_have() {
        let v = "x-stream-protocol-version";
        assert_eq!(name_of("exec", &SPDY, &[(v, "v9.channel.k8s.io"), (v, "v4.channel.k8s.io")]), "v4.channel.k8s.io");
        assert_eq!(name_of("attach", &SPDY, &[(v, "v3.channel.k8s.io, v4.channel.k8s.io")]), "v3.channel.k8s.io");
        assert_eq!(name_of("portforward", &SPDY, &[(v, "portforward.k8s.io")]), "portforward.k8s.io");
        let p = "sec-websocket-protocol";
        assert_eq!(name_of("exec", &WEB_SOCKET, &[(p, "v5.channel.k8s.io")]), "v5.channel.k8s.io");
        assert_eq!(name_of("exec", &WEB_SOCKET, &[]), "");
        let tunnel = "SPDY/3.1+portforward.k8s.io";
        assert_eq!(name_of("portforward", &WEB_SOCKET, &[(p, tunnel)]), tunnel);
    }

    #[test]
    fn refusals_say_what_is_missing() {
        for (verb, lines, status, word) in [
            ("exec", headers(&[]), 400, "Upgrade"),
            ("exec", headers(&SPDY), 400, "x-stream-protocol-version is required"),
            ("exec", headers(&[SPDY[0], SPDY[1], ("x-stream-protocol-version", "v9")]), 403, "v4.channel.k8s.io"),
            ("exec", headers(&WEB_SOCKET[..3]), 400, "Sec-WebSocket-Key"),
            ("exec", headers(&[WEB_SOCKET[0], WEB_SOCKET[1]]), 400, "Sec-WebSocket-Version"),
            (
                "portforward",
                headers(&[&WEB_SOCKET[..], &[("sec-websocket-protocol", "v5.channel.k8s.io")]].concat()),
                403,
                "SPDY/3.1+",
            ),
        ] {
            let refused = agree(verb, &lines).unwrap_err();
            assert_eq!(refused.status.as_u16(), status);
            assert!(refused.reason.contains(word), "{}", refused.reason);
            assert_eq!(refused.accepted.is_empty(), status == 400);
        }
    }
}
