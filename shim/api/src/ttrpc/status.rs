//! Why a call failed: a status code, a sentence, and details for programs.

use std::fmt;

use prost_types::Any;
use serde::de::DeserializeOwned;

use crate::proto;

/// The codes of google.rpc.Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// No better code fits.
    Unknown = 2,
    /// A field is wrong.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// No such container or process.
    NotFound = 5,
    /// The id is in use.
    AlreadyExists = 6,
    /// The peer may not.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// Not in this state.
    FailedPrecondition = 9,
    /// Lost a race.
    Aborted = 10,
    /// Beyond the valid range.
    OutOfRange = 11,
    /// No such method, or not built.
    Unimplemented = 12,
    /// Our fault.
    Internal = 13,
    /// The connection is gone; whether the call took effect is not known.
    Unavailable = 14,
}

impl Code {
    fn from_number(code: i32) -> Self {
        match code {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// A failed call.
#[derive(Debug, Clone)]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: a lower-case fragment that names the object.
    pub message: String,
    /// For programs that want more, see [`Error::detail`].
    pub details: Vec<Any>,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: Any) -> Self {
        self.details.push(detail);
        self
    }

    /// The first detail of this type URL, as JSON.
    pub fn detail<T: DeserializeOwned>(&self, type_url: &str) -> Option<T> {
        let any = self.details.iter().find(|any| any.type_url == type_url)?;
        serde_json::from_slice(&any.value).ok()
    }

    pub(crate) fn into_status(self) -> proto::ttrpc::Status {
        proto::ttrpc::Status { code: self.code as i32, message: self.message, details: self.details }
    }

    pub(crate) fn from_status(status: proto::ttrpc::Status) -> Self {
        Self { code: Code::from_number(status.code), message: status.message, details: status.details }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}
