//! Where a container's output goes, as asked for.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::log_tag::Template;

/// Bytes of log lines that wait for a receiver at most, when nothing else is asked (docker's `max-buffer-size`).
pub const LOG_QUEUE_BYTES: u64 = 1_000_000;

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSpec {
    /// docker's json-file.
    JsonFile {
        /// Bytes after which a file is rotated; 0 = never.
        max_bytes: u64,
        /// Files kept, at least 1.
        max_files: u32,
        /// Compress rotated files.
        compress: bool,
        /// What each record says beside its line.
        #[serde(default)]
        attributes: LogAttributes,
    },
    /// docker's local.
    Local(LogFiles),
    /// A syslog daemon.
    Syslog {
        /// Where it listens.
        address: SyslogAddress,
        /// 0 to 23, as RFC 5424 numbers them.
        facility: u8,
        /// Form of the messages.
        format: SyslogFormat,
        /// The tag; the others tell a tag's template more.
        attributes: LogAttributes,
        /// What waits for it.
        queue: LogQueue,
        /// A copy that can be read back.
        cache: Option<LogFiles>,
    },
    /// systemd's journal.
    Journald {
        /// Fields beside docker's.
        attributes: LogAttributes,
        /// What waits for it.
        queue: LogQueue,
        /// A copy that can be read back.
        cache: Option<LogFiles>,
    },
    /// CRI format at this path, relative to the sandbox's log directory.
    Cri {
        /// Path; empty = no log.
        path: String,
    },
    /// Discarded.
    None,
}

/// Files of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFiles {
    /// Bytes after which a file is rotated; 0 = never.
    pub max_bytes: u64,
    /// Files kept, at least 1.
    pub max_files: u32,
    /// Compress rotated files.
    pub compress: bool,
}

impl Default for LogFiles {
    /// docker's for its driver `local`.
    fn default() -> Self {
        Self { max_bytes: 20_000_000, max_files: 5, compress: true }
    }
}

/// What is said of a container with each of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogAttributes {
    /// Template of the tag; empty = the driver's default.
    pub tag: String,
    /// Labels that are told.
    pub labels: Vec<String>,
    /// Labels whose names match are told; empty = none.
    pub labels_regex: String,
    /// Environment variables that are told.
    pub env: Vec<String>,
    /// Environment variables whose names match are told; empty = none.
    pub env_regex: String,
}

/// What waits for a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQueue {
    /// A full queue holds the container up while the receiver takes lines; else new lines are lost.
    pub blocking: bool,
    /// Bytes at most.
    pub bytes_max: u64,
}

impl Default for LogQueue {
    fn default() -> Self {
        Self { blocking: true, bytes_max: LOG_QUEUE_BYTES }
    }
}

/// Where a syslog daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// This machine's own.
    Local,
    /// Path of a Unix stream socket.
    Unix(String),
    /// Path of a Unix datagram socket.
    Unixgram(String),
    /// `HOST:PORT`
    Tcp(String),
    /// `HOST:PORT`
    Udp(String),
}

/// Form of syslog messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// As C libraries write it.
    #[default]
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

impl LogSpec {
    /// Whether the engine keeps a copy that it can read.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        match self {
            Self::JsonFile { .. } | Self::Local(_) | Self::Cri { .. } => true,
            Self::Syslog { cache, .. } | Self::Journald { cache, .. } => cache.is_some(),
            Self::None => false,
        }
    }

    /// Refuses templates and patterns that cannot be used.
    ///
    /// # Errors
    /// `InvalidArgument` naming the option.
    pub fn check(&self) -> Result<()> {
        let (Self::JsonFile { attributes, .. } | Self::Syslog { attributes, .. } | Self::Journald { attributes, .. }) =
            self
        else {
            return Ok(());
        };
        Template::parse(&attributes.tag).map_err(|reason| Error::invalid(format!("log option tag: {reason}")))?;
        pattern("labels-regex", &attributes.labels_regex)?;
        pattern("env-regex", &attributes.env_regex)?;
        Ok(())
    }
}

fn pattern(option: &str, text: &str) -> Result<Option<Regex>> {
    if text.is_empty() {
        return Ok(None);
    }
    let made = Regex::new(text).map_err(|e| Error::invalid(format!("log option {option}: {e}")))?;
    Ok(Some(made))
}

impl LogAttributes {
    /// The labels and variables (`NAME=value`) that are told.
    ///
    /// # Errors
    /// `InvalidArgument` for a pattern that is none.
    pub fn select(&self, labels: &BTreeMap<String, String>, env: &[String]) -> Result<BTreeMap<String, String>> {
        let by_label = pattern("labels-regex", &self.labels_regex)?;
        let by_name = pattern("env-regex", &self.env_regex)?;
        let wanted = |names: &[String], pattern: &Option<Regex>, name: &str| {
            names.iter().any(|wanted| wanted == name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
        };
        let labels = labels.iter().filter(|(name, _)| wanted(&self.labels, &by_label, name));
        let variables = env.iter().filter_map(|variable| variable.split_once('='));
        let variables = variables.filter(|(name, _)| wanted(&self.env, &by_name, name));
        let mut selected: BTreeMap<String, String> =
            labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        selected.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_variables_are_chosen_by_name_and_by_pattern() {
        let labels = BTreeMap::from([("a", "1"), ("com.x.role", "web"), ("other", "3")]);
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let env = ["STAGE=test=1".to_owned(), "PATH=/bin".to_owned(), "LC_ALL=C".to_owned()];
        let attributes = LogAttributes {
            labels: vec!["a".into(), "absent".into()],
            labels_regex: r"^com\.x\.".into(),
            env: vec!["STAGE".into()],
            env_regex: "^LC_".into(),
            ..LogAttributes::default()
        };
        let selected: Vec<(String, String)> = attributes.select(&labels, &env).unwrap().into_iter().collect();
        let expected = [("LC_ALL", "C"), ("STAGE", "test=1"), ("a", "1"), ("com.x.role", "web")];
        assert_eq!(selected, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(LogAttributes::default().select(&labels, &env).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let spec = |attributes| LogSpec::Journald { attributes, queue: LogQueue::default(), cache: None };
        let refused = |attributes| spec(attributes).check().unwrap_err().message().to_owned();
        assert!(refused(LogAttributes { tag: "{{.Nope}}".into(), ..Default::default() }).contains("tag"));
        assert!(refused(LogAttributes { env_regex: "(".into(), ..Default::default() }).contains("env-regex"));
        assert!(refused(LogAttributes { labels_regex: "[".into(), ..Default::default() }).contains("labels-regex"));
    }

    #[test]
    fn records_of_the_first_release_are_read() {
        let old = r#"{"json_file":{"max_bytes":10,"max_files":2,"compress":true}}"#;
        let read: LogSpec = serde_json::from_str(old).unwrap();
        let attributes = LogAttributes::default();
        assert_eq!(read, LogSpec::JsonFile { max_bytes: 10, max_files: 2, compress: true, attributes });
    }
}
