//! PURE. Whether, and after how long, a container that has ended is started again.

use std::time::Duration;

use crate::spec::RestartPolicy;

/// The first wait; it doubles with each restart.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A run at least this long makes the next wait the first one again.
const RUN_IS_STABLE: Duration = Duration::from_secs(10);

/// What the policy looks at when a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code of the run.
    pub(crate) exit_code: i32,
    /// How long it ran.
    pub(crate) ran_for: Duration,
    /// A user asked for the end.
    pub(crate) stopped_by_user: bool,
    /// Restarts by policy so far.
    pub(crate) restarts: u32,
    /// The wait before this run; `None` if a user started it.
    pub(crate) last_backoff: Option<Duration>,
}

/// The wait before the next start, or `None` to leave it.
pub(crate) fn next_start(policy: RestartPolicy, ended: Ended) -> Option<Duration> {
    if ended.stopped_by_user {
        return None;
    }
    let wanted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max_retries } => {
            ended.exit_code != 0 && (max_retries == 0 || ended.restarts < max_retries)
        }
    };
    wanted.then(|| match ended.last_backoff {
        Some(last) if ended.ran_for < RUN_IS_STABLE => (last * 2).min(BACKOFF_MAX),
        _ => BACKOFF_MIN,
    })
}

/// Whether a container that does not run is started when the engine starts.
///
/// `was_running` means that it ran (or waited for a restart) when the engine or the machine went away.
pub(crate) fn start_with_engine(
    policy: RestartPolicy,
    was_running: bool,
    stopped_by_user: bool,
    exit_code: i32,
) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !stopped_by_user,
        RestartPolicy::OnFailure { .. } => was_running && !stopped_by_user && exit_code != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i32, restarts: u32, last_backoff: Option<Duration>) -> Ended {
        Ended { exit_code, ran_for: Duration::from_millis(50), stopped_by_user: false, restarts, last_backoff }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_a_stable_run_resets_it() {
        let mut last = None;
        let mut seen = Vec::new();
        for restarts in 0..12 {
            last = next_start(RestartPolicy::Always, ended(1, restarts, last));
            seen.push(last.unwrap().as_millis());
        }
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        let stable = Ended { ran_for: Duration::from_secs(10), ..ended(1, 12, last) };
        assert_eq!(next_start(RestartPolicy::Always, stable), Some(BACKOFF_MIN));
    }

    #[test]
    fn on_failure_counts_and_ignores_success() {
        let policy = RestartPolicy::OnFailure { max_retries: 2 };
        assert_eq!(next_start(policy, ended(0, 0, None)), None);
        assert!(next_start(policy, ended(3, 1, None)).is_some());
        assert_eq!(next_start(policy, ended(3, 2, None)), None);
        assert!(next_start(RestartPolicy::OnFailure { max_retries: 0 }, ended(3, 999, None)).is_some());
    }

    #[test]
    fn a_users_stop_holds_every_policy_back() {
        for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure { max_retries: 0 }]
        {
            assert_eq!(next_start(policy, Ended { stopped_by_user: true, ..ended(1, 0, None) }), None);
        }
        assert!(start_with_engine(RestartPolicy::Always, false, true, 0));
        assert!(!start_with_engine(RestartPolicy::UnlessStopped, false, true, 0));
    }
}
