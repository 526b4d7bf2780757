//! PURE. Progress of a pull in dockerd's words, one JSON object a line.

use docker_api::image::{ErrorDetail, JsonMessage, ProgressDetail};
use engine::image::{LayerProgress, LayerStatus, PullProgress};

/// Width of the drawn bar.
const BAR_WIDTH: u64 = 50;

/// One line for one step.
pub(crate) fn line(progress: &PullProgress) -> JsonMessage {
    match progress {
        PullProgress::Pulling { repository, tag } => {
            let path = without_registry(repository);
            JsonMessage { status: format!("Pulling from {path}"), id: tag.clone(), ..JsonMessage::default() }
        }
        PullProgress::Layer(layer) => layer_line(layer),
        PullProgress::Digest(digest) => status(format!("Digest: {digest}")),
        PullProgress::Finished { reference, newer: true } => {
            status(format!("Status: Downloaded newer image for {reference}"))
        }
        PullProgress::Finished { reference, newer: false } => {
            status(format!("Status: Image is up to date for {reference}"))
        }
    }
}

/// dockerd names the repository within its registry: `team/tool` of `localhost:5000/team/tool`.
fn without_registry(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => path,
        _ => repository,
    }
}

/// A line with a sentence only.
pub(crate) fn status(status: String) -> JsonMessage {
    JsonMessage { status, ..JsonMessage::default() }
}

/// The line that a failure after the first line is told with.
pub(crate) fn failure(message: String) -> JsonMessage {
    let error_detail = Some(ErrorDetail { code: 0, message: message.clone() });
    JsonMessage { error_detail, error: message, ..JsonMessage::default() }
}

fn layer_line(layer: &LayerProgress) -> JsonMessage {
    let moving = matches!(layer.status, LayerStatus::Downloading | LayerStatus::Extracting) && layer.total > 0;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let detail = if moving {
        ProgressDetail { current: signed(layer.current), total: signed(layer.total), hide_counts: false }
    } else {
        ProgressDetail::default()
    };
    JsonMessage {
        status: layer.status.to_string(),
        progress_detail: Some(detail),
        progress: if moving { bar(layer.current, layer.total) } else { String::new() },
        id: layer.digest.short(),
        ..JsonMessage::default()
    }
}

/// `[=====>      ]  1.05MB/2.2MB`.
pub(crate) fn bar(current: u64, total: u64) -> String {
    let done = (u128::from(current.min(total)) * u128::from(BAR_WIDTH) / u128::from(total.max(1))) as usize;
    let left = (BAR_WIDTH as usize).saturating_sub(done);
    format!("[{}>{}] {:>8}/{}", "=".repeat(done), " ".repeat(left), human_size(current), human_size(total))
}

/// Four digits and a unit of 1000, as docker's `units.HumanSize`.
pub(crate) fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].iter();
    let mut unit = units.next().unwrap_or(&"B");
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        size /= 1000.0;
        unit = next;
    }
    let decimals = match size {
        size if size >= 999.95 => 0,
        size if size >= 99.995 => 1,
        size if size >= 9.9995 => 2,
        _ => 3,
    };
    let text = format!("{size:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::id::Digest;

    fn text(progress: &PullProgress) -> String {
        serde_json::to_string(&line(progress)).unwrap()
    }

    #[test]
    fn lines_are_dockerds() {
        let digest = Digest::of(b"");
        let layer = |status, current, total| PullProgress::Layer(LayerProgress { digest, status, current, total });
        let pulling = PullProgress::Pulling { repository: "library/busybox".into(), tag: "1".into() };
        assert_eq!(text(&pulling), r#"{"status":"Pulling from library/busybox","id":"1"}"#);
        let private = PullProgress::Pulling { repository: "localhost:5000/team/tool".into(), tag: "2".into() };
        assert_eq!(text(&private), r#"{"status":"Pulling from team/tool","id":"2"}"#);
        assert_eq!(
            text(&layer(LayerStatus::PullingFsLayer, 0, 5)),
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"e3b0c44298fc"}"#
        );
        assert_eq!(
            text(&layer(LayerStatus::Downloading, 1_048_576, 2_097_152)),
            r#"{"status":"Downloading","progressDetail":{"current":1048576,"total":2097152},"progress":"[=========================>                         ]  1.049MB/2.097MB","id":"e3b0c44298fc"}"#
        );
        let finished = PullProgress::Finished { reference: "busybox:1".into(), newer: false };
        assert_eq!(text(&finished), r#"{"status":"Status: Image is up to date for busybox:1"}"#);
        assert_eq!(
            serde_json::to_string(&failure("no".into())).unwrap(),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }

    #[test]
    fn sizes_have_four_digits() {
        let sizes = [0, 999, 1000, 1536, 1_048_576, 12_345_678, 123_456_789, 999_999].map(human_size);
        assert_eq!(sizes, ["0B", "999B", "1kB", "1.536kB", "1.049MB", "12.35MB", "123.5MB", "1000kB"]);
    }
}
