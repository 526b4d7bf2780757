//! PURE. Image references: parsing, docker.io normalisation, familiar names.
//!
//! The grammar is that of the distribution project: `[domain/]path[:tag][@digest]`. A first component is a domain if it
//! has a `.` or a `:`, or is `localhost`, or has an upper-case letter; else the domain is `docker.io`, and a path of one
//! component there is under `library/`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::Digest;

/// The most characters of `domain/path`.
const NAME_LEN_MAX: usize = 255;
/// The most characters of a tag.
const TAG_LEN_MAX: usize = 128;
const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// The tag of a reference without one.
const DEFAULT_TAG: &str = "latest";

/// A normalised reference: it always has a domain; tag, digest, both or neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }
    /// The repository in the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }
    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    /// The digest, if it has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
    /// The repository as people write it: `busybox`, `me/tool`, `localhost:5000/x`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            // `library/a/b` cannot be shortened: `a/b` is another repository.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }
    /// The whole reference as people write it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        self.push_suffix(&mut text);
        text
    }
    /// With `:latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }
    /// The same repository, by digest only.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }
    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// `InvalidArgument` when `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid(format!("invalid tag format: {tag:?}")));
        }
        Ok(Self { domain: self.domain.clone(), path: self.path.clone(), tag: Some(tag.to_owned()), digest: None })
    }
    /// What a registry is asked for: the digest if there is one, else the tag, else `latest`.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.repository();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("invalid reference format: {text:?}"));
        if is_bare_id(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(text, digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(wrong());
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({path}) must be lowercase: {text:?}"
            )));
        }
        if !is_domain(&domain) || !is_path(&path) {
            return Err(wrong());
        }
        if domain.len() + 1 + path.len() > NAME_LEN_MAX {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name must not be more than {NAME_LEN_MAX} characters"
            )));
        }
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest> {
    digest.parse().map_err(|_| match digest.split_once(':') {
        Some((algorithm, _)) if algorithm != "sha256" && !algorithm.is_empty() => Error::invalid(format!(
            "invalid reference format: {text:?}: digest algorithm {algorithm:?} is not supported"
        )),
        _ => Error::invalid(format!("invalid reference format: {text:?}: invalid digest")),
    })
}

/// The tag is what follows a `:` after the last `/`.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |at| at + 1);
    match text[last..].find(':') {
        // Without a slash a bracket means an address, which has no repository: left to the domain check to refuse.
        Some(at) if !text[last..].starts_with('[') => (&text[..last + at], Some(&text[last + at + 1..])),
        _ => (text, None),
    }
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/') && !path.is_empty();
    let path = if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() };
    (domain.to_owned(), path)
}

fn is_bare_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !tag.is_empty()
        && tag.len() <= TAG_LEN_MAX
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        // The distribution grammar allows any hex and colons; here the address must really be one.
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        if after.is_empty() {
            return true;
        }
        let Some(port) = after.strip_prefix(':') else { return false };
        ("v6", Some(port))
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        }
    };
    let port_ok =
        port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok());
    port_ok && host.split('.').all(is_domain_label)
}

fn is_domain_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !bytes.first().is_some_and(alnum) || !bytes.last().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(alnum)
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn names_are_normalised_and_made_familiar_again() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1", "busybox:1"),
            ("index.docker.io/me/tool", "docker.io/me/tool", "me/tool"),
            ("docker.io/library/foo/bar", "docker.io/library/foo/bar", "library/foo/bar"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x:1.0", "localhost:5000/x:1.0", "localhost:5000/x:1.0"),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("[2001:db8::1]/a/b:t", "[2001:db8::1]/a/b:t", "[2001:db8::1]/a/b:t"),
            ("Upper/x", "Upper/x", "Upper/x"),
            ("127.0.0.1:5000/a__b/c-d.e", "127.0.0.1:5000/a__b/c-d.e", "127.0.0.1:5000/a__b/c-d.e"),
            ("xn--n3h.com/a---b", "xn--n3h.com/a---b", "xn--n3h.com/a---b"),
            ("a/b", "docker.io/a/b", "a/b"),
            ("test:5000", "docker.io/library/test:5000", "test:5000"),
        ] {
            let reference = parse(text);
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
        }
        let both = parse(&format!("busybox:1@{D}"));
        assert_eq!((both.tag(), both.digest().map(|d| d.to_string())), (Some("1"), Some(D.to_owned())));
        assert_eq!(both.target(), D);
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in [
            "",
            ":tag",
            "/x",
            "x/",
            "a//b",
            "-x",
            "x-",
            "a/-b",
            "a..b",
            "a___b",
            "A",
            "a/B",
            "x:",
            "x:-t",
            "x@sha256:ff",
            "x@sha512:00",
            "x@",
            "foo.com:x/y",
            "foo.com:99999/y",
            "[::1",
            "[fe80::1%eth0]:5000/x",
            "[::1]x/y",
            "[::1]",
            "docker.io/",
            "localhost:5000",
            "a b",
            "a\nb",
            "../x",
            "x/../y",
            "-foo.com/x",
            "foo-.com/x",
            "é",
        ] {
            // `localhost:5000` alone is the repository `localhost` with a tag, as docker reads it.
            if text == "localhost:5000" {
                assert_eq!(parse(text).to_string(), "docker.io/library/localhost:5000");
                continue;
            }
            assert!(text.parse::<Reference>().is_err(), "{text:?} was taken");
        }
        assert!("f".repeat(64).parse::<Reference>().is_err(), "an id is not a name");
        assert!(format!("x:{}", "t".repeat(129)).parse::<Reference>().is_err());
        assert!("a".repeat(256).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn a_parsed_reference_prints_as_what_parses_to_itself(text in "\\PC{0,40}|([a-z0-9.:/@\\[\\]_-]{0,60})") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&parse(&reference.to_string()), &reference);
                prop_assert_eq!(&parse(&reference.familiar()), &reference);
            }
        }

        #[test]
        fn the_parts_survive(
            domain in "([a-z][a-z0-9]{0,5}\\.[a-z]{2,3})(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,5}([._-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        ) {
            let text = format!("{domain}/{path}{}", tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default());
            let reference = parse(&text);
            prop_assert_eq!(reference.tag(), tag.as_deref());
            if domain != "docker.io" {
                prop_assert_eq!(reference.domain(), domain);
                prop_assert_eq!(reference.path(), path);
            }
        }
    }
}
