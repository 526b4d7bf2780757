//! Entries of systemd's journal in its native protocol: a datagram of fields.

use std::collections::BTreeMap;

use shim_api::log_format::Stream;
use shim_api::time::rfc3339;

use super::remote_log::Record;

/// Writes a line as one entry. Empty lines are entries too.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, fields: &BTreeMap<String, String>) {
    // As docker has it: information, and errors.
    let priority = if record.stream == Stream::Stderr { "3" } else { "6" };
    field(out, "MESSAGE", &record.text);
    field(out, "PRIORITY", priority.as_bytes());
    field(out, "SYSLOG_TIMESTAMP", rfc3339(record.time_ns).as_bytes());
    if record.partial {
        field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    for (name, value) in fields {
        field(out, name, value.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_several_lines_tell_their_length() {
        let fields = BTreeMap::from([("NOTE".to_owned(), "a\nb".to_owned())]);
        let mut out = Vec::new();
        let record = Record { time_ns: 0, stream: Stream::Stderr, partial: true, text: b"hello".to_vec() };
        write(&mut out, &record, &fields);
        let expected = b"MESSAGE=hello\nPRIORITY=3\nSYSLOG_TIMESTAMP=1970-01-01T00:00:00.000000000Z\n\
            CONTAINER_PARTIAL_MESSAGE=true\nNOTE\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expected));
    }
}
