//! Paths and queries of requests, encoded.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Result};

/// What may stand in a path or a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path with its query.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    text: String,
    has_query: bool,
}

impl Path {
    /// A path whose parts are known.
    pub(crate) fn new(text: &str) -> Self {
        Path { text: text.to_owned(), has_query: false }
    }

    /// `/containers/{name}/json` with the name typed by the user. An empty name is refused: it would
    /// address the list. Slashes stay, since names of images have them.
    pub(crate) fn of(kind: &str, name: &str, tail: &str) -> Result<Self> {
        if name.trim().is_empty() {
            return Err(Error::message(format!("invalid {} name or ID: value is empty", kind.trim_end_matches('s'))));
        }
        let parts: Vec<String> = name.split('/').map(encode).collect();
        let name = parts.join("/");
        let tail = if tail.is_empty() { String::new() } else { format!("/{tail}") };
        Ok(Path { text: format!("/{kind}/{name}{tail}"), has_query: false })
    }

    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        self.text.push_str(&encode(value));
        self
    }

    /// Adds the key only where there is a value.
    pub(crate) fn query_some(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.query(key, value) }
    }

    /// Adds `key=1` if `on`.
    pub(crate) fn query_if(self, key: &str, on: bool) -> Self {
        if on { self.query(key, "1") } else { self }
    }

    /// Adds `--filter` values as the API wants them.
    pub(crate) fn filters(self, filters: &[String]) -> Self {
        if filters.is_empty() { self } else { self.query("filters", &filters_json(filters)) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// `key=value` texts as `{"key":{"value":true}}`.
pub(crate) fn filters_json(filters: &[String]) -> String {
    let mut map: BTreeMap<String, BTreeMap<&str, bool>> = BTreeMap::new();
    for filter in filters {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        if !key.is_empty() {
            map.entry(key.trim().to_lowercase()).or_default().insert(value.trim(), true);
        }
    }
    serde_json::to_string(&map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_cannot_leave_its_place() {
        let path = Path::of("containers", "a b?c#d%", "json").unwrap().query("x", "1&y=2");
        assert_eq!(path.as_str(), "/containers/a%20b%3Fc%23d%25/json?x=1%26y%3D2");
        assert_eq!(Path::of("images", "a/b:1", "json").unwrap().as_str(), "/images/a/b%3A1/json");
        assert!(Path::of("containers", " ", "").is_err());
    }

    #[test]
    fn filters_are_grouped_by_key() {
        let filters = ["label=a=b".to_owned(), "label=c".to_owned(), "Status=exited".to_owned()];
        assert_eq!(filters_json(&filters), r#"{"label":{"a=b":true,"c":true},"status":{"exited":true}}"#);
    }
}
