//! PURE. `filters=` of list and prune calls, in both of its forms: `{"label":{"a=b":true}}` and `{"label":["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::query::Query;
use crate::status_code::Failure;

/// Parsed filters. Values of one key are alternatives, except labels, which must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads the query's `filters`; `accepted` are the keys that the endpoint knows.
    ///
    /// # Errors
    /// 400 for malformed JSON and for a key that is not accepted.
    pub(crate) fn parse(query: &Query, accepted: &[&str]) -> Result<Self, Failure> {
        let filters = Self::from_json(query.text("filters"))?;
        match filters.0.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(key) => Err(Failure::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(filters),
        }
    }

    fn from_json(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = |why: &str| Failure::bad_request(format!("invalid filter: {why}"));
        let value: Value = serde_json::from_str(text).map_err(|e| wrong(&e.to_string()))?;
        let entries = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(entries) => entries,
            _ => return Err(wrong("it is not an object")),
        };
        let mut filters = BTreeMap::new();
        for (key, values) in entries {
            let values = match values {
                Value::Object(map) => {
                    map.into_iter().filter(|(_, on)| on != &Value::Bool(false)).map(|(v, _)| v).collect()
                }
                Value::Array(list) => list
                    .into_iter()
                    .map(|item| {
                        item.as_str()
                            .map(str::to_owned)
                            .ok_or_else(|| wrong(&format!("{key}: a value is not a string")))
                    })
                    .collect::<Result<BTreeSet<String>, Failure>>()?,
                Value::Null => BTreeSet::new(),
                _ => return Err(wrong(&format!("{key}: its values are neither a list nor an object"))),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// Adds a value.
    pub(crate) fn insert(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
    }
    /// Values of a key; nothing when it is not there.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }
    /// Whether the key has any value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }
    /// Whether the key is absent or one of its values is `value`.
    pub(crate) fn exact(&self, key: &str, value: &str) -> bool {
        self.any(key, |wanted| wanted == value)
    }
    /// Whether the key is absent or `holds` for one of its values.
    pub(crate) fn any(&self, key: &str, mut holds: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(&mut holds)
    }
    /// Whether all values `k` or `k=v` of a key hold for these labels.
    pub(crate) fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).all(|wanted| has_label(wanted, labels))
    }
    /// The labels of prune calls: all of `label`, none of `label!`.
    pub(crate) fn prune_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels("label", labels) && !self.values("label!").any(|unwanted| has_label(unwanted, labels))
    }
    /// A key with one boolean value.
    ///
    /// # Errors
    /// 400 when there are two or it is no boolean.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, Failure> {
        let values: Vec<&str> = self.values(key).collect();
        match values[..] {
            [] => Ok(None),
            ["1" | "true" | "True" | "t" | "T" | "TRUE"] => Ok(Some(true)),
            ["0" | "false" | "False" | "f" | "F" | "FALSE"] => Ok(Some(false)),
            _ => Err(Failure::bad_request(format!("invalid filter '{key}={}'", values.join(",")))),
        }
    }
}

fn has_label(wanted: &str, labels: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Filters, Failure> {
        Filters::from_json(json)
    }

    #[test]
    fn both_forms_say_the_same() {
        let map = parse(r#"{"label":{"a=b":true,"c":true,"off":false},"status":{"running":true}}"#).unwrap();
        let list = parse(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        assert_eq!(map, list);
        assert_eq!(parse("").unwrap(), parse("null").unwrap());
    }

    #[test]
    fn labels_must_all_hold_and_other_values_are_alternatives() {
        let filters = parse(r#"{"label":["a=b","c"],"status":["running","exited"]}"#).unwrap();
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert!(filters.labels("label", &labels(&[("a", "b"), ("c", "")])));
        assert!(!filters.labels("label", &labels(&[("a", "b")])));
        assert!(!filters.labels("label", &labels(&[("a", "x"), ("c", "1")])));
        assert!(filters.exact("status", "exited") && !filters.exact("status", "paused"));
        assert!(filters.exact("name", "anything"));
    }

    #[test]
    fn unknown_keys_and_malformed_filters_are_refused() {
        let query = Query::parse("filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D");
        assert_eq!(Filters::parse(&query, &["label"]).unwrap_err().message, "invalid filter 'bogus'");
        for wrong in ["{", "[]", "3", r#"{"label":3}"#, r#"{"label":[3]}"#] {
            assert_eq!(parse(wrong).unwrap_err().status, http::StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn a_boolean_filter_takes_one_boolean() {
        assert_eq!(parse(r#"{"dangling":{"true":true}}"#).unwrap().boolean("dangling").unwrap(), Some(true));
        assert_eq!(parse("{}").unwrap().boolean("dangling").unwrap(), None);
        assert!(parse(r#"{"dangling":["maybe"]}"#).unwrap().boolean("dangling").is_err());
    }
}
