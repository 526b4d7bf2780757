//! What can go wrong with a cgroup, as kinds for programs and sentences for people.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of this module's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed cgroup operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel, or this cgroup version, cannot do what `field` asks for.
    Unsupported {
        /// The field of OCI `linux.resources`, such as `memory.swappiness`.
        field: String,
        /// Why not.
        reason: String,
    },
    /// The value of `field` makes no sense, or the kernel refused it.
    Invalid {
        /// The field of OCI `linux.resources`, or `cgroupsPath`.
        field: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The cgroup does not exist.
    NotFound {
        /// The directory that is missing.
        path: PathBuf,
    },
    /// The cgroup did not reach the wanted state in time.
    TimedOut {
        /// What was waited for.
        waiting_for: String,
    },
    /// systemd answered a call with an error.
    Systemd {
        /// The D-Bus error name.
        name: String,
        /// Its text.
        message: String,
    },
    /// A system call failed.
    Io {
        /// What was attempted, as a verb: `write`, `make`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }

    /// The nearest `io::ErrorKind`, for callers that speak `io::Error`.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Unsupported { .. } => io::ErrorKind::Unsupported,
            Self::Invalid { .. } => io::ErrorKind::InvalidInput,
            Self::NotFound { .. } => io::ErrorKind::NotFound,
            Self::TimedOut { .. } => io::ErrorKind::TimedOut,
            Self::Systemd { .. } => io::ErrorKind::Other,
            Self::Io { source, .. } => source.kind(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { field, reason } => write!(f, "{field} is not supported here: {reason}"),
            Self::Invalid { field, reason } => write!(f, "{field}: {reason}"),
            Self::NotFound { path } => write!(f, "no cgroup at {}", path.display()),
            Self::TimedOut { waiting_for } => write!(f, "timed out waiting for {waiting_for}"),
            Self::Systemd { name, message } => write!(f, "systemd refused: {message} ({name})"),
            Self::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.io_kind(), error)
    }
}
