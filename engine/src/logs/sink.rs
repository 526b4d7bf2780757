//! A container's log as asked for -> what its shim is told, at each start: names are looked up, tags are written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shim_api::options::{self, LogReceiver, LogSink, RotatedFiles};

use crate::container::record::ContainerRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::log_tag::{Facts, Template};
use crate::spec::{LogAttributes, LogFiles, LogQueue, LogSpec, SyslogAddress, SyslogFormat};

/// Where systemd's journal listens.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Time to find the addresses of a syslog daemon.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// The tag of lines when none is asked for (docker's).
const TAG_DEFAULT: &str = "{{.ID}}";

/// What the shim is told.
///
/// # Errors
/// `Unavailable` when the receiver cannot be known: no journal here, a name without an address.
pub(crate) async fn sink(record: &ContainerRecord) -> Result<LogSink> {
    let path = Path::new(&record.log_path);
    if let (false, Some(folder)) = (record.log_path.is_empty(), path.parent()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::from(e).context(format!("make {}", folder.display())))?;
    }
    let kept = |files: &LogFiles| RotatedFiles {
        path: path.to_owned(),
        max_bytes: Some(files.max_bytes).filter(|bytes| *bytes > 0),
        max_files: files.max_files.max(1),
        compress: files.compress,
    };
    let remote = |receiver, queue: &LogQueue, cache: &Option<LogFiles>| LogSink::Remote {
        receiver,
        queue_bytes_max: queue.bytes_max,
        blocking: queue.blocking,
        cache: cache.as_ref().map(kept),
    };
    Ok(match &record.spec.log {
        LogSpec::None => LogSink::Null,
        LogSpec::Cri { .. } if record.log_path.is_empty() => LogSink::Null,
        LogSpec::Cri { .. } => LogSink::CriFile { path: path.to_owned() },
        LogSpec::JsonFile { max_bytes, max_files, compress, attributes } => LogSink::JsonFile {
            path: path.to_owned(),
            max_bytes: Some(*max_bytes).filter(|bytes| *bytes > 0),
            max_files: (*max_files).max(1),
            compress: *compress,
            attributes: json_attributes(record, attributes)?,
        },
        LogSpec::Local(files) => LogSink::LocalFile(kept(files)),
        LogSpec::Syslog { address, facility, format, attributes, queue, cache } => {
            let receiver = LogReceiver::Syslog {
                address: find(address).await?,
                facility: *facility,
                format: wire_format(*format),
                tag: tag(record, attributes, TAG_DEFAULT)?,
                hostname: hostname(),
            };
            remote(receiver, queue, cache)
        }
        LogSpec::Journald { attributes, queue, cache } => {
            let socket = PathBuf::from(JOURNAL_SOCKET);
            if !socket.exists() {
                let why = "failed to initialize logging driver: journald is not enabled on this host";
                return Err(Error::new(ErrorKind::Unavailable, format!("{why} ({JOURNAL_SOCKET} does not exist)")));
            }
            remote(LogReceiver::Journald { socket, fields: journal_fields(record, attributes)? }, queue, cache)
        }
    })
}

fn selected(record: &ContainerRecord, attributes: &LogAttributes) -> Result<BTreeMap<String, String>> {
    attributes.select(&record.resolved.labels, &record.resolved.env)
}

fn json_attributes(record: &ContainerRecord, attributes: &LogAttributes) -> Result<BTreeMap<String, String>> {
    let mut told = selected(record, attributes)?;
    let tag = tag(record, attributes, "")?;
    if !tag.is_empty() {
        told.insert("tag".to_owned(), tag);
    }
    Ok(told)
}

fn tag(record: &ContainerRecord, attributes: &LogAttributes, default: &str) -> Result<String> {
    let template = if attributes.tag.is_empty() { default } else { &attributes.tag };
    let template = Template::parse(template).map_err(|e| Error::invalid(format!("log option tag: {e}")))?;
    let command = [std::slice::from_ref(&record.resolved.path), &record.resolved.args].concat().join(" ");
    let (id, image_id) = (record.id.to_string(), record.image_id.to_string());
    Ok(template.render(&Facts {
        id: &id,
        name: &record.name,
        image_id: &image_id,
        image_name: &record.spec.image,
        command: &command,
        hostname: &hostname(),
        extra: &selected(record, attributes)?,
    }))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// docker's fields, and the chosen labels and variables under names that the journal takes.
fn journal_fields(record: &ContainerRecord, attributes: &LogAttributes) -> Result<BTreeMap<String, String>> {
    let tag = tag(record, attributes, TAG_DEFAULT)?;
    let id = record.id.to_string();
    let mut fields: BTreeMap<String, String> =
        selected(record, attributes)?.into_iter().map(|(name, value)| (field_name(&name), value)).collect();
    for (name, value) in [
        ("CONTAINER_ID", id.chars().take(12).collect()),
        ("CONTAINER_ID_FULL", id),
        ("CONTAINER_NAME", record.name.clone()),
        ("CONTAINER_TAG", tag.clone()),
        ("IMAGE_NAME", record.spec.image.clone()),
        ("SYSLOG_IDENTIFIER", tag),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields.remove("");
    Ok(fields)
}

/// Capital letters, digits and underscores, and no underscore in front: those are the journal's own.
fn field_name(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    plain.trim_start_matches('_').to_owned()
}

const fn wire_format(format: SyslogFormat) -> options::SyslogFormat {
    match format {
        SyslogFormat::Unix => options::SyslogFormat::Unix,
        SyslogFormat::Rfc3164 => options::SyslogFormat::Rfc3164,
        SyslogFormat::Rfc5424 => options::SyslogFormat::Rfc5424,
        SyslogFormat::Rfc5424Micro => options::SyslogFormat::Rfc5424Micro,
    }
}

async fn find(address: &SyslogAddress) -> Result<options::SyslogAddress> {
    Ok(match address {
        SyslogAddress::Local => options::SyslogAddress::Local,
        SyslogAddress::Unix(path) => options::SyslogAddress::Unix(path.into()),
        SyslogAddress::Unixgram(path) => options::SyslogAddress::Unixgram(path.into()),
        SyslogAddress::Tcp(host) => options::SyslogAddress::Tcp(look_up(host).await?),
        SyslogAddress::Udp(host) => options::SyslogAddress::Udp(look_up(host).await?),
    })
}

async fn look_up(host: &str) -> Result<Vec<SocketAddr>> {
    let failed = |why: String| {
        Error::new(ErrorKind::Unavailable, format!("failed to initialize logging driver: syslog-address {host}: {why}"))
    };
    let found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host(host)).await;
    let found = found.map_err(|_| failed("the name was not answered in time".to_owned()))?;
    let addresses: Vec<SocketAddr> = found.map_err(|e| failed(e.to_string()))?.take(8).collect();
    if addresses.is_empty() { Err(failed("the name has no address".to_owned())) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::field_name;

    #[test]
    fn journal_fields_have_names_that_the_journal_takes() {
        assert_eq!(field_name("com.example-role"), "COM_EXAMPLE_ROLE");
        assert_eq!(field_name("__PID"), "PID");
        assert_eq!(field_name("é"), "");
    }
}
