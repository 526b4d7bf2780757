//! PURE. `WWW-Authenticate`: which scheme a registry wants, and with which parameters.

/// Bytes of one header that are looked at.
const HEADER_BYTES_MAX: usize = 8192;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password in each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best challenge of all headers: a token before a password.
pub(crate) fn choose<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers.filter(|h| h.len() <= HEADER_BYTES_MAX) {
        for challenge in parse(header) {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => basic = Some(challenge),
            }
        }
    }
    basic
}

/// The challenges of one header that are understood (RFC 9110, 11.6.1).
fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let scheme_end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = &rest[..scheme_end];
        rest = rest[scheme_end..].trim_start();
        let mut parameters = Vec::new();
        while let Some((name, value, after)) = parameter(rest) {
            parameters.push((name, value));
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        let get = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
        rest = rest.trim_start_matches([',', ' ']);
        if scheme.is_empty() {
            break;
        }
    }
    found
}

/// `name=token` or `name="quoted"`; `None` where the next scheme begins.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let equals = text.find('=')?;
    let name = text[..equals].trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return None;
    }
    let after = text[equals + 1..].trim_start();
    let Some(quoted) = after.strip_prefix('"') else {
        let end = after.find([',', ' ']).unwrap_or(after.len());
        return Some((name.to_ascii_lowercase(), after[..end].to_owned(), &after[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((name.to_ascii_lowercase(), value, &quoted[at + 1..])),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(choose([hub].into_iter()), Some(wanted));
        assert_eq!(choose([r#"Basic realm="x""#].into_iter()), Some(Challenge::Basic));
        assert_eq!(choose(["basic"].into_iter()), Some(Challenge::Basic));
        let both = r#"Basic realm="a, b", Bearer realm="https://t" , service=plain"#;
        assert_eq!(choose([both].into_iter()), Some(bearer("https://t", Some("plain"), None)));
        assert_eq!(choose(["Negotiate", r#"Bearer service="no realm""#].into_iter()), None);
        assert_eq!(choose([r#"Bearer realm="with \" quote""#].into_iter()), Some(bearer("with \" quote", None, None)));
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "\\PC{0,200}") {
            let _ = choose([header.as_str()].into_iter());
        }
    }
}
