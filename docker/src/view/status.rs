//! PURE. The words for a container's state: `State`, and the `Status` column of `ps`.

use engine::container::{ContainerView, Phase};

use crate::time::human;

/// `running`, `exited`, …
pub(crate) fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Created | Phase::Starting => "created",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Restarting => "restarting",
        Phase::Exited => "exited",
        Phase::Removing => "removing",
        Phase::Dead => "dead",
    }
}

/// `Up 2 minutes (healthy)`, `Exited (3) 2 seconds ago`.
pub(crate) fn status(view: &ContainerView, now_ns: i64) -> String {
    let ago = |time_ns: i64| human(now_ns.saturating_sub(time_ns).max(0) / 1_000_000_000);
    match view.phase {
        Phase::Created | Phase::Starting => "Created".to_owned(),
        Phase::Running => match view.health.as_ref().map(|health| health.status.as_str()) {
            None | Some("" | "none") => format!("Up {}", ago(view.started_ns)),
            Some("starting") => format!("Up {} (health: starting)", ago(view.started_ns)),
            Some(health) => format!("Up {} ({health})", ago(view.started_ns)),
        },
        Phase::Paused => format!("Up {} (Paused)", ago(view.started_ns)),
        Phase::Restarting => format!("Restarting ({}) {} ago", view.exit_code, ago(view.finished_ns)),
        Phase::Exited => format!("Exited ({}) {} ago", view.exit_code, ago(view.finished_ns)),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
    }
}
