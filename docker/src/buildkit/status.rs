//! The one place that knows gRPC's codes of engine errors, in both directions.

use engine::{Error, ErrorKind};
use tonic::{Code, Status};

/// An engine error for a builder's client. BuildKit's own have no code either, but for those that clients act upon: any
/// other is printed before the message.
pub(super) fn of(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        _ => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

/// What a client answered to a call of ours, about `what`.
pub(super) fn from_client(status: &Status, what: &str) -> Error {
    let kind = match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unavailable => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidArgument,
    };
    Error::new(kind, format!("the client answers about {what:?}: {}", status.message()))
}
