//! The engine's one error: a kind for programs and a sentence for people.
//!
//! Nothing matches on text. Each door maps [`ErrorKind`] to its own codes in its `status_code.rs`, and nowhere else.

use std::fmt;
use std::sync::Arc;

/// What an engine call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The whole vocabulary of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The name or the resource (port, address) is taken by another object.
    AlreadyExists,
    /// The object is in a state, or in a use, that does not allow this.
    Conflict,
    /// Already so: start of a running container, stop of a stopped one.
    NotModified,
    /// The request itself is wrong; the message names the field and the reason.
    InvalidArgument,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Known, but not allowed: a predefined network, an object of the other door.
    Forbidden,
    /// A peer (registry, shim, kernel facility) cannot be reached now; trying again may help.
    Unavailable,
    /// It took longer than its limit; the message says what was waited for.
    DeadlineExceeded,
    /// Disk, memory, ids or another limit is used up.
    ResourceExhausted,
    /// The caller cancelled.
    Cancelled,
    /// This engine, or this kernel, does not have it; the message says which.
    NotImplemented,
    /// A fault of the engine or the machine.
    Internal,
}

/// An error: kind, sentence and cause.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    exit_code: Option<i32>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a lower-case sentence that names the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: None, source: None }
    }
    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }
    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }
    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }
    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
    /// [`ErrorKind::NotImplemented`].
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }
    /// Adds the cause; it is printed after the message.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
    /// The exit code that a failed start stands for: 127 not found, 126 not executable.
    #[must_use]
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.exit_code = Some(code);
        self
    }
    /// Puts words in front of the message: `pull busybox: …`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    /// The exit code of a failed start, if this is one.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }
    /// The sentence without its cause.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let full = matches!(&error, rusqlite::Error::SqliteFailure(e, _) if e.code == rusqlite::ErrorCode::DiskFull);
        let kind = if full { ErrorKind::ResourceExhausted } else { ErrorKind::Internal };
        Self::new(kind, "metadata store").with_source(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
            std::io::ErrorKind::TimedOut => ErrorKind::DeadlineExceeded,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, "input or output failed").with_source(error)
    }
}
