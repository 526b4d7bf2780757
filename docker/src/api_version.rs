//! PURE. The version prefix of a path: `/v1.43/containers/json`.

use crate::status_code::Failure;
use http::StatusCode;

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(pub(crate) u16, pub(crate) u16);

/// What this engine declares: the last version before the removals of 1.52.
pub(crate) const CURRENT: ApiVersion = ApiVersion(1, 51);
/// The oldest that is accepted.
pub(crate) const OLDEST: ApiVersion = ApiVersion(1, 24);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Takes the version off a path; a path without one means the current version.
///
/// # Errors
/// 400 with dockerd's words when the version is out of range.
pub(crate) fn split(path: &str) -> Result<(ApiVersion, &str), Failure> {
    let Some((version, rest)) = prefix(path) else { return Ok((CURRENT, path)) };
    let fail = |message: String| Err(Failure::new(StatusCode::BAD_REQUEST, message));
    if version < OLDEST {
        return fail(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        ));
    }
    if version > CURRENT {
        return fail(format!("client version {version} is too new. Maximum supported API version is {CURRENT}"));
    }
    Ok((version, rest))
}

fn prefix(path: &str) -> Option<(ApiVersion, &str)> {
    let tail = path.strip_prefix("/v")?;
    let (version, _) = tail.split_once('/')?;
    let (major, minor) = version.split_once('.')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((ApiVersion(number(major)?, number(minor)?), tail.get(version.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_and_a_bare_path_is_current() {
        assert_eq!(split("/v1.43/info").unwrap(), (ApiVersion(1, 43), "/info"));
        assert_eq!(split("/info").unwrap(), (CURRENT, "/info"));
        assert_eq!(split("/version").unwrap(), (CURRENT, "/version"));
        assert_eq!(split("/v1/x").unwrap(), (CURRENT, "/v1/x"));
        assert_eq!(split("/v1.x/y").unwrap(), (CURRENT, "/v1.x/y"));
        assert_eq!(split("/volumes/v1.43/x").unwrap().0, CURRENT);
    }

    #[test]
    fn versions_out_of_range_are_refused_with_dockerds_words() {
        let text = |path: &str| split(path).unwrap_err().message;
        assert_eq!(
            text("/v1.12/info"),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert_eq!(text("/v9.99/info"), "client version 9.99 is too new. Maximum supported API version is 1.51");
        assert!(split("/v1.24/info").is_ok() && split("/v1.51/info").is_ok() && split("/v1.52/info").is_err());
    }
}
