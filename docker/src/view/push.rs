//! PURE. Progress of a push in dockerd's words, one JSON object a line.

use docker_api::image::{JsonMessage, ProgressDetail};
use engine::image::{PushProgress, PushStatus};

use super::pull::{bar, status};

/// The lines for one step.
pub(crate) fn lines(step: &PushProgress) -> Vec<JsonMessage> {
    match step {
        PushProgress::Repository(name) => vec![status(format!("The push refers to repository [{name}]"))],
        PushProgress::Note(text) => vec![status(text.clone())],
        PushProgress::Layer { layer, status, current, total } => {
            let moving = *status == PushStatus::Pushing && *total > 0;
            let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            let detail = if moving {
                ProgressDetail { current: signed(*current), total: signed(*total), hide_counts: false }
            } else {
                ProgressDetail::default()
            };
            vec![JsonMessage {
                status: words(status),
                progress_detail: Some(detail),
                progress: if moving { bar(*current, *total) } else { String::new() },
                id: layer.short(),
                ..JsonMessage::default()
            }]
        }
        PushProgress::Tagged { tag, digest, size } => vec![
            status(format!("{tag}: digest: {digest} size: {size}")),
            JsonMessage {
                progress_detail: Some(ProgressDetail::default()),
                aux: Some(serde_json::json!({"Tag": tag, "Digest": digest, "Size": size})),
                ..JsonMessage::default()
            },
        ],
    }
}

fn words(status: &PushStatus) -> String {
    match status {
        PushStatus::Preparing => "Preparing".to_owned(),
        PushStatus::AlreadyExists => "Layer already exists".to_owned(),
        PushStatus::MountedFrom(repository) => format!("Mounted from {repository}"),
        PushStatus::Pushing => "Pushing".to_owned(),
        PushStatus::Pushed => "Pushed".to_owned(),
    }
}
