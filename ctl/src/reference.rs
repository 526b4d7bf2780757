//! Image references: `alpine` means `docker.io/library/alpine:latest`.

/// A reference in its full form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

const DEFAULT_DOMAIN: &str = "docker.io";
/// The grammar's limit for the repository's name.
const NAME_LENGTH_MAX: usize = 255;

impl Reference {
    /// Reads what a user typed; the message is docker's.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || "invalid reference format".to_owned();
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(format!("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let after_slash = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[after_slash..].find(':') {
            Some(at) => (&name[..after_slash + at], Some(&name[after_slash + at + 1..])),
            None => (name, None),
        };
        let (domain, path) = split_domain(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) && valid_path(&path.to_lowercase()) {
            let shown = if domain == DEFAULT_DOMAIN { path } else { format!("{domain}/{path}") };
            return Err(format!("invalid reference format: repository name ({shown}) must be lowercase"));
        }
        let fine =
            valid_domain(&domain) && valid_path(&path) && tag.is_none_or(valid_tag) && digest.is_none_or(valid_digest);
        if !fine {
            return Err(invalid());
        }
        if path.len() > NAME_LENGTH_MAX {
            return Err(format!("repository name must not be more than {NAME_LENGTH_MAX} characters"));
        }
        Ok(Reference { domain, path, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }

    /// Adds `latest` where neither tag nor digest was given.
    pub(crate) fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The repository's name as people write it.
    pub(crate) fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people write it.
    pub(crate) fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text.push_str(&format!(":{tag}"));
        }
        if let Some(digest) = &self.digest {
            text.push_str(&format!("@{digest}"));
        }
        text
    }

    /// Every part written out, as pulls without `--quiet` end with.
    pub(crate) fn full(&self) -> String {
        let mut text = format!("{}/{}", self.domain, self.path);
        if let Some(tag) = &self.tag {
            text.push_str(&format!(":{tag}"));
        }
        if let Some(digest) = &self.digest {
            text.push_str(&format!("@{digest}"));
        }
        text
    }
}

/// The first part is a registry if it has a dot, a port or an uppercase letter, or is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    if let Some((first, rest)) = name.split_once('/')
        && (first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first)
    {
        let domain = if first == "index.docker.io" { DEFAULT_DOMAIN } else { first };
        let library = domain == DEFAULT_DOMAIN && !rest.contains('/');
        let path = if library { format!("library/{rest}") } else { rest.to_owned() };
        return (domain.to_owned(), path);
    }
    let path = if name.contains('/') { name.to_owned() } else { format!("library/{name}") };
    (DEFAULT_DOMAIN.to_owned(), path)
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = if domain.starts_with('[') {
        match domain.split_once(']') {
            Some((host, rest)) => (&host[1..], rest.strip_prefix(':')),
            None => return false,
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host_fine = if domain.starts_with('[') {
        host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') && !host.is_empty()
    } else {
        host.split('.').all(label)
    };
    host_fine && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case words joined by `.`, `_`, `__` or dashes, in parts joined by `/`.
fn valid_path(path: &str) -> bool {
    path.split('/').all(|part| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = part.as_bytes();
        let ends = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
        let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        ends && separators
            .filter(|s| !s.is_empty())
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    })
}

fn valid_tag(tag: &str) -> bool {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn valid_digest(digest: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match digest.split_once(':') {
        Some(("sha256", text)) => text.len() == 64 && hex(text),
        Some(("sha512", text)) => text.len() == 128 && hex(text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_shortened() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let with_digest = format!("a/b@{digest}");
        let cases = [
            ("alpine", "docker.io", "library/alpine", "alpine:latest"),
            ("alpine:3", "docker.io", "library/alpine", "alpine:3"),
            ("docker.io/alpine", "docker.io", "library/alpine", "alpine:latest"),
            ("index.docker.io/a/b", "docker.io", "a/b", "a/b:latest"),
            ("localhost:5000/a_b", "localhost:5000", "a_b", "localhost:5000/a_b:latest"),
            ("[::1]:5000/x", "[::1]:5000", "x", "[::1]:5000/x:latest"),
            ("UPPER/x", "UPPER", "x", "UPPER/x:latest"),
            (with_digest.as_str(), "docker.io", "a/b", with_digest.as_str()),
        ];
        for (text, domain, path, familiar) in cases {
            let reference = Reference::parse(text).unwrap().with_default_tag();
            assert_eq!((reference.domain.as_str(), reference.path.as_str()), (domain, path));
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn bad_names_are_refused_with_dockers_words() {
        for text in ["", "nosuch:", "a//b", "-a", "a@b", "a:b:c", "a__-b", "x@sha256:zz"] {
            assert_eq!(Reference::parse(text).unwrap_err(), "invalid reference format", "{text}");
        }
        assert_eq!(
            Reference::parse("UPPER").unwrap_err(),
            "invalid reference format: repository name (library/UPPER) must be lowercase"
        );
    }
}
