//! Reading and writing the kernel's control files, with errors that name the field a value came from.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{Error, Result};

/// Figures at or above this are the kernel's way to say "unlimited" on v1: `PAGE_COUNTER_MAX` in bytes with the
/// largest page size.
const V1_UNLIMITED_MIN: u64 = 0x7fff_ffff_fff0_0000;

/// Writes `value` in one system call, as control files want it.
pub(super) fn write_raw(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(value.as_bytes())
}

/// Writes what `field` of the limits asks for.
pub(super) fn write(directory: &Path, file: &str, value: &str, field: &str) -> Result<()> {
    let path = directory.join(file);
    write_raw(&path, value).map_err(|error| refusal(directory, file, value, field, error))
}

/// The error for a value that the kernel did not take.
pub(super) fn refusal(directory: &Path, file: &str, value: &str, field: &str, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) if !directory.is_dir() => Error::NotFound { path: directory.to_owned() },
        Some(libc::ENOENT) => Error::unsupported(field, format!("the kernel has no {file} in {}", directory.display())),
        Some(libc::ENODEV) => Error::invalid(field, format!("no such device: {value:?}")),
        Some(libc::EOPNOTSUPP) => {
            Error::unsupported(field, format!("the kernel refused {value:?} for {file}: {error}"))
        }
        Some(libc::EINVAL | libc::ERANGE) => {
            Error::invalid(field, format!("the kernel refused {value:?} for {file}: {error}"))
        }
        _ => Error::io("write", &directory.join(file), error),
    }
}

/// Reads a whole control file; `None` if it is not there.
pub(super) fn read(directory: &Path, file: &str) -> Result<Option<String>> {
    let path = directory.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        // EOPNOTSUPP: a pressure file while pressure accounting is off. ENODEV: the cgroup has just been removed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// Reads one number; `None` if the file is not there or says `max` or a v1 "unlimited".
pub(super) fn read_number(directory: &Path, file: &str) -> Result<Option<u64>> {
    let Some(text) = read(directory, file)? else { return Ok(None) };
    match text.trim() {
        "max" => Ok(None),
        digits => match digits.parse() {
            Ok(number) if number >= V1_UNLIMITED_MIN => Ok(None),
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::io("parse", &directory.join(file), io::ErrorKind::InvalidData.into())),
        },
    }
}

/// Reads lines of `key number`; empty if the file is not there.
pub(super) fn read_map(directory: &Path, file: &str) -> Result<BTreeMap<String, u64>> {
    Ok(read(directory, file)?.map(|text| parse_map(&text)).unwrap_or_default())
}

/// Parses lines of `key number`; other lines are passed over.
pub(super) fn parse_map(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}
