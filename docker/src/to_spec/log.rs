//! PURE. HostConfig.LogConfig -> [`LogSpec`], with dockerd's defaults and its words for what it refuses.
//!
//! | Driver | Options |
//! |---|---|
//! | `json-file` | `max-size`, `max-file`, `compress`, `labels`, `labels-regex`, `env`, `env-regex`, `tag` |
//! | `local` | `max-size`, `max-file`, `compress` |
//! | `syslog` | `syslog-address`, `syslog-facility`, `syslog-format`, and those from `labels` on; TLS is refused |
//! | `journald` | those from `labels` on |
//! | `none` | any: there is nothing that they could change |
//!
//! Every driver takes `mode` and `max-buffer-size`; those without files of their own take `cache-disabled`,
//! `cache-max-size`, `cache-max-file` and `cache-compress` for the copy that `docker logs` reads. Files are written at
//! once in either mode: there is no queue that could hold a container up or lose lines.

use std::collections::BTreeMap;

use docker_api::container::LogConfig;
use engine::spec::{LOG_QUEUE_BYTES, LogAttributes, LogFiles, LogQueue, LogSpec, SyslogAddress, SyslogFormat};
use engine::{Error, Result};

use super::parse_bool;
use crate::size;

/// The drivers, as `docker info` lists them.
pub(crate) const DRIVERS: [&str; 4] = ["journald", "json-file", "local", "syslog"];
/// Options of every driver.
const COMMON: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];
const SYSLOG: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];
/// Where syslog listens when an address has no port.
const SYSLOG_PORT: u16 = 514;
/// Facilities by number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// `daemon`
const FACILITY_DEFAULT: u8 = 3;

type Options = BTreeMap<String, String>;

/// The daemon's default where nothing is asked, and its options under those of the same driver.
pub(crate) fn merged(wanted: &LogConfig, default: &LogConfig) -> LogConfig {
    let mut merged = wanted.clone();
    if merged.kind.is_empty() {
        merged.kind = if default.kind.is_empty() { "json-file".into() } else { default.kind.clone() };
    }
    let same = merged.kind == default.kind;
    for (option, value) in &default.config {
        if same || option.starts_with("cache-") {
            merged.config.entry(option.clone()).or_insert_with(|| value.clone());
        }
    }
    merged
}

/// The translation.
///
/// # Errors
/// `InvalidArgument` in dockerd's words; `NotImplemented` for TLS.
pub(crate) fn spec(wanted: &LogConfig) -> Result<LogSpec> {
    let options = &wanted.config;
    if wanted.kind == "none" {
        return Ok(LogSpec::None);
    }
    let queue = queue(options)?;
    let known = |lists: &[&[&str]]| refuse_unknown(&wanted.kind, options, lists);
    let spec = match wanted.kind.as_str() {
        "" | "json-file" => {
            known(&[&FILES, &ATTRIBUTES])?;
            let LogFiles { max_bytes, max_files, compress } = json_files(options)?;
            LogSpec::JsonFile { max_bytes, max_files, compress, attributes: attributes(options) }
        }
        "local" => {
            known(&[&FILES])?;
            LogSpec::Local(local_files(options, "")?)
        }
        "syslog" => {
            known(&[&SYSLOG, &ATTRIBUTES])?;
            LogSpec::Syslog {
                address: syslog_address(options)?,
                facility: facility(options.get("syslog-facility").map_or("", String::as_str))?,
                format: syslog_format(options.get("syslog-format").map_or("", String::as_str))?,
                attributes: attributes(options),
                queue,
                cache: cache(options)?,
            }
        }
        "journald" => {
            known(&[&ATTRIBUTES])?;
            LogSpec::Journald { attributes: attributes(options), queue, cache: cache(options)? }
        }
        other => return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
    };
    spec.check()?;
    Ok(spec)
}

fn refuse_unknown(driver: &str, options: &Options, lists: &[&[&str]]) -> Result<()> {
    let known = |option: &str| COMMON.contains(&option) || lists.iter().any(|list| list.contains(&option));
    let Some(option) = options.keys().find(|option| !known(option)) else { return Ok(()) };
    Err(Error::invalid(match driver {
        "local" => format!("unknown log opt '{option}' for log-driver local"),
        "" => format!("unknown log opt '{option}' for json-file log driver"),
        driver => format!("unknown log opt '{option}' for {driver} log driver"),
    }))
}

fn queue(options: &Options) -> Result<LogQueue> {
    let blocking = match options.get("mode").map_or("", String::as_str) {
        "" | "blocking" => true,
        "non-blocking" => false,
        other => return Err(Error::invalid(format!("logger: logging mode not supported: {other}"))),
    };
    let bytes_max = match options.get("max-buffer-size") {
        None => LOG_QUEUE_BYTES,
        Some(_) if blocking => {
            let why = "logger: max-buffer-size option is only supported with 'mode=non-blocking'";
            return Err(Error::invalid(why));
        }
        Some(size) => size::bytes(size)
            .ok_or_else(|| Error::invalid(format!("error parsing option max-buffer-size: invalid size: '{size}'")))?,
    };
    Ok(LogQueue { blocking, bytes_max })
}

fn attributes(options: &Options) -> LogAttributes {
    let text = |option: &str| options.get(option).cloned().unwrap_or_default();
    let list = |option: &str| text(option).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    LogAttributes {
        tag: text("tag"),
        labels: list("labels"),
        labels_regex: text("labels-regex"),
        env: list("env"),
        env_regex: text("env-regex"),
    }
}

/// `max-size`: dockerd's `-1` and absence mean no limit.
fn max_bytes(option: &str, value: &str) -> Result<u64> {
    let bytes =
        size::decimal_bytes(value).ok_or_else(|| Error::invalid(format!("{option}: invalid size: '{value}'")))?;
    if bytes == 0 { Err(Error::invalid(format!("{option} must be a positive number"))) } else { Ok(bytes) }
}

fn max_files(option: &str, value: &str) -> Result<u32> {
    let count: i64 =
        value.parse().map_err(|_| Error::invalid(format!("{option}: '{value}' is not a number of files")))?;
    match u32::try_from(count) {
        Ok(count @ 1..=1000) => Ok(count),
        Ok(1001..) => Err(Error::invalid(format!("{option} cannot be more than 1000"))),
        _ => Err(Error::invalid(format!("{option} cannot be less than 1"))),
    }
}

fn compress(option: &str, value: &str) -> Result<bool> {
    parse_bool(value).ok_or_else(|| Error::invalid(format!("{option}: '{value}' is not a bool")))
}

fn json_files(options: &Options) -> Result<LogFiles> {
    let mut files = LogFiles { max_bytes: 0, max_files: 1, compress: false };
    if let Some(value) = options.get("max-size").filter(|value| *value != "-1") {
        files.max_bytes = max_bytes("max-size", value)?;
    }
    if let Some(value) = options.get("max-file") {
        files.max_files = max_files("max-file", value)?;
    }
    if let Some(value) = options.get("compress") {
        files.compress = compress("compress", value)?;
    }
    if files.compress && (files.max_files == 1 || files.max_bytes == 0) {
        let why = "compress cannot be true when max-file is less than 2 or max-size is not set";
        return Err(Error::invalid(why));
    }
    Ok(files)
}

/// The options of `local`, or those of the cache (`prefix` is `cache-` then).
fn local_files(options: &Options, prefix: &str) -> Result<LogFiles> {
    let mut files = LogFiles::default();
    let given = |name: &str| {
        let option = format!("{prefix}{name}");
        options.get(&option).map(|value| (option, value.as_str()))
    };
    if let Some((option, value)) = given("max-size") {
        files.max_bytes = max_bytes(&option, value)?;
    }
    if let Some((option, value)) = given("max-file") {
        files.max_files = max_files(&option, value)?;
    }
    match given("compress") {
        Some((option, value)) => files.compress = compress(&option, value)?,
        None => files.compress = files.max_files > 1,
    }
    if files.compress && files.max_files == 1 {
        return Err(Error::invalid("compression cannot be enabled when max file count is 1"));
    }
    Ok(files)
}

fn cache(options: &Options) -> Result<Option<LogFiles>> {
    let disabled = options.get("cache-disabled").map_or(Ok(false), |value| compress("cache-disabled", value))?;
    if disabled { Ok(None) } else { local_files(options, "cache-").map(Some) }
}

fn syslog_address(options: &Options) -> Result<SyslogAddress> {
    let address = options.get("syslog-address").map_or("", String::as_str);
    if address.starts_with("tcp+tls://") {
        let why = "syslog-address: tcp+tls is not supported by this engine: use tcp, udp, unix or unixgram";
        return Err(Error::not_implemented(why));
    }
    if let Some(option) = options.keys().find(|option| option.starts_with("syslog-tls-")) {
        return Err(Error::not_implemented(format!("{option}: TLS to syslog is not supported by this engine")));
    }
    let Some((scheme, rest)) = address.split_once("://") else {
        return match address {
            "" => Ok(SyslogAddress::Local),
            other => Err(bad_address(other)),
        };
    };
    match scheme {
        "unix" => Ok(SyslogAddress::Unix(rest.to_owned())),
        "unixgram" => Ok(SyslogAddress::Unixgram(rest.to_owned())),
        "tcp" => Ok(SyslogAddress::Tcp(with_port(rest)?)),
        "udp" => Ok(SyslogAddress::Udp(with_port(rest)?)),
        _ => Err(bad_address(address)),
    }
}

fn bad_address(address: &str) -> Error {
    Error::invalid(format!("syslog-address should be in form proto://address, got {address}"))
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`, with what follows a slash cut off.
fn with_port(text: &str) -> Result<String> {
    let host = text.split('/').next().unwrap_or_default();
    let (name, port) = match host.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let plain = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if name.is_empty() || (plain.is_none() && name.contains(':')) {
        return Err(Error::invalid(format!("syslog-address: {text:?} names no host")));
    }
    let port = match port {
        None => SYSLOG_PORT,
        Some(port) => port.parse().map_err(|_| Error::invalid(format!("syslog-address: {port:?} is not a port")))?,
    };
    Ok(format!("{name}:{port}"))
}

fn facility(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(FACILITY_DEFAULT);
    }
    let named = FACILITIES.iter().position(|name| *name == text);
    let number = named.or_else(|| text.parse().ok().filter(|number| *number < FACILITIES.len()));
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| Error::invalid("invalid syslog facility"))
}

fn syslog_format(text: &str) -> Result<SyslogFormat> {
    Ok(match text {
        "" => SyslogFormat::Unix,
        "rfc3164" => SyslogFormat::Rfc3164,
        "rfc5424" => SyslogFormat::Rfc5424,
        "rfc5424micro" => SyslogFormat::Rfc5424Micro,
        _ => return Err(Error::invalid("Invalid syslog format")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: &str, options: &[(&str, &str)]) -> LogConfig {
        let config = options.iter().map(|(option, value)| ((*option).to_owned(), (*value).to_owned())).collect();
        LogConfig { kind: kind.to_owned(), config }
    }

    #[test]
    fn dockers_defaults_hold() {
        let attributes = LogAttributes::default();
        let json = LogSpec::JsonFile { max_bytes: 0, max_files: 1, compress: false, attributes: attributes.clone() };
        assert_eq!(spec(&config("", &[])).unwrap(), json);
        let files = LogFiles { max_bytes: 20_000_000, max_files: 5, compress: true };
        assert_eq!(spec(&config("local", &[])).unwrap(), LogSpec::Local(files));
        let LogSpec::Syslog { address, facility, format, cache, queue, .. } = spec(&config("syslog", &[])).unwrap()
        else {
            panic!("syslog")
        };
        assert_eq!((address, facility, format), (SyslogAddress::Local, 3, SyslogFormat::Unix));
        assert_eq!((cache, queue), (Some(files), LogQueue { blocking: true, bytes_max: 1_000_000 }));
        assert_eq!(spec(&config("none", &[("max-size", "1m")])).unwrap(), LogSpec::None);
    }

    #[test]
    fn options_are_honoured() {
        let given =
            [("max-size", "10m"), ("max-file", "3"), ("compress", "true"), ("labels", "a,b"), ("tag", "{{.ID}}")];
        let LogSpec::JsonFile { max_bytes, max_files, compress, attributes } =
            spec(&config("json-file", &given)).unwrap()
        else {
            panic!("json-file")
        };
        assert_eq!((max_bytes, max_files, compress), (10_000_000, 3, true));
        assert_eq!((attributes.labels, attributes.tag.as_str()), (vec!["a".to_owned(), "b".to_owned()], "{{.ID}}"));
        let given = [("mode", "non-blocking"), ("max-buffer-size", "4m"), ("cache-disabled", "true")];
        let LogSpec::Journald { queue, cache, .. } = spec(&config("journald", &given)).unwrap() else { panic!() };
        assert_eq!((queue, cache), (LogQueue { blocking: false, bytes_max: 4 << 20 }, None));
        for (given, expected) in [
            ("udp://h", SyslogAddress::Udp("h:514".into())),
            ("tcp://[::1]:99/x", SyslogAddress::Tcp("[::1]:99".into())),
            ("tcp://[::1]", SyslogAddress::Tcp("[::1]:514".into())),
            ("unix:///dev/log", SyslogAddress::Unix("/dev/log".into())),
            ("unixgram:///dev/log", SyslogAddress::Unixgram("/dev/log".into())),
        ] {
            let config = config("syslog", &[("syslog-address", given), ("syslog-facility", "local7")]);
            let LogSpec::Syslog { address, facility, .. } = spec(&config).unwrap() else { panic!("syslog") };
            assert_eq!((address, facility), (expected, 23));
        }
    }

    #[test]
    fn what_is_wrong_is_refused_in_dockers_words() {
        for (kind, options, words) in [
            ("fluentd", &[][..], "logger: no log driver named 'fluentd' is registered"),
            ("json-file", &[("bogus", "1")], "unknown log opt 'bogus' for json-file log driver"),
            ("", &[("syslog-address", "x")], "unknown log opt 'syslog-address' for json-file log driver"),
            ("local", &[("tag", "x")], "unknown log opt 'tag' for log-driver local"),
            ("syslog", &[("max-size", "1m")], "unknown log opt 'max-size' for syslog log driver"),
            ("journald", &[("bogus", "1")], "unknown log opt 'bogus' for journald log driver"),
            ("json-file", &[("mode", "lazy")], "logger: logging mode not supported: lazy"),
            ("json-file", &[("max-buffer-size", "1m")], "only supported with 'mode=non-blocking'"),
            (
                "json-file",
                &[("mode", "non-blocking"), ("max-buffer-size", "x")],
                "error parsing option max-buffer-size",
            ),
            ("json-file", &[("max-size", "tiny")], "max-size: invalid size: 'tiny'"),
            ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("compress", "true")], "compress cannot be true when max-file is less than 2"),
            ("json-file", &[("compress", "maybe")], "compress: 'maybe' is not a bool"),
            (
                "local",
                &[("max-file", "1"), ("compress", "true")],
                "compression cannot be enabled when max file count is 1",
            ),
            (
                "syslog",
                &[("syslog-address", "nowhere")],
                "syslog-address should be in form proto://address, got nowhere",
            ),
            ("syslog", &[("syslog-address", "http://x")], "syslog-address should be in form proto://address"),
            ("syslog", &[("syslog-address", "tcp+tls://x")], "tcp+tls is not supported"),
            ("syslog", &[("syslog-tls-skip-verify", "true")], "syslog-tls-skip-verify: TLS"),
            ("syslog", &[("syslog-address", "tcp://x:port")], "\"port\" is not a port"),
            ("syslog", &[("syslog-facility", "24")], "invalid syslog facility"),
            ("syslog", &[("syslog-format", "xml")], "Invalid syslog format"),
            ("syslog", &[("tag", "{{.Nope}}")], "log option tag"),
        ] {
            let error = spec(&config(kind, options)).unwrap_err();
            assert!(error.message().contains(words), "{kind} {options:?}: {error}");
        }
    }

    #[test]
    fn the_daemons_default_fills_what_was_not_asked() {
        let default = config("local", &[("max-size", "1m"), ("max-file", "2")]);
        assert_eq!(merged(&config("", &[]), &default), default);
        let own = config("local", &[("max-size", "5m")]);
        assert_eq!(merged(&own, &default), config("local", &[("max-size", "5m"), ("max-file", "2")]));
        assert_eq!(merged(&config("json-file", &[]), &default), config("json-file", &[]));
        assert_eq!(merged(&config("", &[]), &LogConfig::default()), config("json-file", &[]));
    }
}
