//! The one place where an engine error becomes a gRPC status.

use engine::{Error, ErrorKind};
use tonic::{Code, Status};

/// The status of an error. The kubelet relies on `NotFound` for objects that are gone.
pub(crate) fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Conflict | ErrorKind::NotModified => Code::FailedPrecondition,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::NotImplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    };
    Status::new(code, error.to_string())
}

/// `Ok(None)` for an object that does not exist: for calls that are idempotent.
pub(crate) fn if_exists<T>(result: Result<T, Error>) -> Result<Option<T>, Status> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(status(&error)),
    }
}

/// Success also for what was so already or is gone.
pub(crate) fn idempotent(result: Result<(), Error>) -> Result<(), Status> {
    match result {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotModified) => Err(status(&error)),
        _ => Ok(()),
    }
}
