//! `/containers/{id}/archive`: `docker cp` both ways.

use base64::Engine as _;
use docker_api::archive::PathStat;
use engine::container::WriteArchive;
use http::{HeaderValue, Response, StatusCode};

use crate::call::Call;
use crate::reply::{self, Body, Outcome};
use crate::request_body;
use crate::status_code::Failure;
use crate::time;

/// What the path is, base64 of JSON.
const STAT_HEADER: &str = "x-docker-container-path-stat";

pub(crate) async fn head(call: Call) -> Outcome {
    let stat = call.container()?.stat_path(path(&call)?).await?;
    let mut response = reply::empty(StatusCode::OK);
    describe(&mut response, &stat);
    Ok(response)
}

pub(crate) async fn get(call: Call) -> Outcome {
    let (stat, bytes) = call.container()?.read_archive(path(&call)?).await?;
    let mut response = reply::bytes_of("application/x-tar", bytes);
    describe(&mut response, &stat);
    Ok(response)
}

pub(crate) async fn put(mut call: Call) -> Outcome {
    let body = call.body.take().ok_or_else(|| Failure::bad_request("no archive was sent"))?;
    let options = WriteArchive {
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        owned_by_user: call.query.flag("copyUIDGID"),
    };
    let container = call.container();
    let archive = request_body::reader(body);
    container?.write_archive(path(&call)?, archive, options).await?;
    Ok(reply::empty(StatusCode::OK))
}

fn path(call: &Call) -> Result<&str, Failure> {
    match call.query.text("path") {
        "" => Err(Failure::bad_request("missing parameter: query path must be given")),
        path => Ok(path),
    }
}

fn describe(response: &mut Response<Body>, stat: &engine::container::PathStat) {
    let (seconds, nanos) = stat.modified;
    let document = PathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: time::rfc3339(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))),
        link_target: stat.link_target.clone(),
    };
    let json = serde_json::to_vec(&document).unwrap_or_default();
    let text = base64::engine::general_purpose::STANDARD.encode(json);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(STAT_HEADER, value);
    }
}

/// `st_mode` as Go's `os.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        0o020_000 => (1 << 26) | (1 << 21),
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = bits.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |sum, (_, go)| sum | go);
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 0x8000_01ed);
        assert_eq!(go_mode(0o120_777), 0x0800_01ff);
        assert_eq!(go_mode(0o041_777), 0x8010_01ff);
        assert_eq!(go_mode(0o020_666), 0x0420_01b6);
        assert_eq!(go_mode(0o104_755), 0x0080_01ed);
    }
}
