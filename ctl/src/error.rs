//! What can go wrong in the client, and which exit code each failure means.

use std::fmt;
use std::io;

/// A failure of a command, as docker's client words it.
#[derive(Debug)]
pub(crate) enum Error {
    /// The daemon answered with an error status.
    Daemon { status: u16, message: String },
    /// No daemon listens at the endpoint.
    Unreachable { host: String },
    /// A sentence for people; the exit code is 1.
    Message(String),
    /// A sentence and an exit code.
    Code { code: u8, message: String },
    /// The exit code alone: what there was to say has been said.
    Exit(u8),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    /// The process's exit code for this failure.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Code { code, .. } | Error::Exit(code) => *code,
            Error::Daemon { .. } | Error::Unreachable { .. } | Error::Message(_) => 1,
        }
    }

    /// True when the daemon says that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Daemon { status: 404, .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Daemon { message, .. } => write!(f, "Error response from daemon: {message}"),
            Error::Unreachable { host } => {
                write!(f, "Cannot connect to the Gantry daemon at {host}. Is gantryd running?")
            }
            Error::Message(message) | Error::Code { message, .. } => f.write_str(message),
            Error::Exit(code) => write!(f, "exit status {code}"),
        }
    }
}

impl std::error::Error for Error {}

/// A closed pipe at our output ends the program as SIGPIPE would; other failures are told.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Error::Exit(128 + 13);
        }
        Error::Message(error.to_string())
    }
}

/// Opens a file for reading; the message names the path and the reason as docker's does.
pub(crate) fn open_file(path: &str) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(|error| Error::message(format!("open {path}: {}", reason(&error))))
}

/// The reason of an I/O error without the number, in the kernel's lower-case words.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
