//! `GET /containers/{id}/logs`.

use engine::container::LogOptions;

use crate::call::Call;
use crate::hijack;
use crate::log_stream;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::time;

pub(crate) async fn logs(call: Call) -> Outcome {
    let container = call.container()?;
    let tty = container.view().spec.process.tty;
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let now = time::now_ns();
    let options = LogOptions {
        follow: query.flag("follow"),
        stdout,
        stderr,
        since_ns: time::parse("since", query.text("since"), now)?.unwrap_or(0),
        until_ns: time::parse("until", query.text("until"), now)?.unwrap_or(0),
        tail: tail(query.text("tail")),
    };
    let (timestamps, details) = (query.flag("timestamps"), query.flag("details"));
    let format = log_stream::Format { framed: !tty, timestamps, details };
    let kind = hijack::content_type(call.version, tty);
    let lines = container.logs(options).await?;
    let (pieces, response) = reply::stream(kind);
    tokio::spawn(log_stream::copy(lines, pieces, format));
    Ok(response)
}

/// dockerd reads everything that is no number as "all".
fn tail(text: &str) -> Option<u64> {
    text.parse().ok()
}
