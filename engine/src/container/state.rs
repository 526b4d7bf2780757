//! PURE. The rules of a container's life: one enum, one `apply`, no effects.

use serde::{Deserialize, Serialize};

use crate::container::Phase;

/// Where a container is in its life, with what only the rules need to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started with success.
    Created,
    /// Being started.
    Starting,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Runs and was asked to end.
    Stopping,
    /// Has ended and waits for its next start by policy.
    Restarting,
    /// Has ended.
    Exited,
    /// Being removed.
    Removing,
    /// Could not be removed.
    Dead,
}

/// What can happen to a container, or be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A caller wants it to run.
    Start,
    /// Its program runs.
    Started,
    /// It could not be started; `ran_before` tells where it falls back to.
    StartFailed {
        /// Whether a run of it has ended before.
        ran_before: bool,
    },
    /// A caller wants it to end.
    Stop,
    /// A caller sends a signal.
    Kill,
    /// A caller wants it frozen.
    Pause,
    /// A caller wants it thawed.
    Unpause,
    /// A caller wants to run a command in it.
    Exec,
    /// Its first process has ended.
    Exited {
        /// The restart policy wants it to run again.
        restart: bool,
    },
    /// The time before the next start by policy is over.
    BackoffOver,
    /// A caller wants it removed.
    Remove {
        /// Even if it runs.
        force: bool,
    },
    /// Something of it could not be removed.
    RemoveFailed,
}

/// Why an input is not possible in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is so already.
    NotModified,
    /// It does not run.
    NotRunning,
    /// It runs; a removal must be forced.
    Running,
    /// It is frozen.
    Paused,
    /// It is not frozen.
    NotPaused,
    /// It waits for its next start.
    Restarting,
    /// It is being started or stopped.
    Busy,
    /// It is being removed.
    Removing,
    /// An observation that this state cannot have: it is out of date.
    Stale,
}

impl ContainerState {
    /// The state as both doors know it: one that is asked to end still runs.
    pub fn phase(self) -> Phase {
        match self {
            Self::Created => Phase::Created,
            Self::Starting => Phase::Starting,
            Self::Running | Self::Stopping => Phase::Running,
            Self::Paused => Phase::Paused,
            Self::Restarting => Phase::Restarting,
            Self::Exited => Phase::Exited,
            Self::Removing => Phase::Removing,
            Self::Dead => Phase::Dead,
        }
    }
    /// It has a process.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }
    /// A wait for "not running" is over.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Created | Self::Exited | Self::Removing | Self::Dead)
    }
}

/// The state after `input`, or why there is none.
///
/// # Errors
/// [`Refused`]; the state stays as it is.
pub fn apply(state: ContainerState, input: Input) -> Result<ContainerState, Refused> {
    use ContainerState as S;
    match state {
        S::Created | S::Exited => at_rest(state, input),
        S::Starting => starting(input),
        S::Running => running(input),
        S::Paused => paused(input),
        S::Stopping => stopping(input),
        S::Restarting => restarting(input),
        S::Removing => match input {
            Input::RemoveFailed => Ok(S::Dead),
            Input::Exited { .. } | Input::Started | Input::StartFailed { .. } | Input::BackoffOver => {
                Err(Refused::Stale)
            }
            Input::Kill | Input::Pause | Input::Unpause | Input::Exec => Err(Refused::NotRunning),
            Input::Stop => Err(Refused::NotModified),
            Input::Start | Input::Remove { .. } => Err(Refused::Removing),
        },
        S::Dead => match input {
            Input::Remove { .. } => Ok(S::Removing),
            Input::Start => Err(Refused::Removing),
            Input::Stop => Err(Refused::NotModified),
            Input::Kill | Input::Pause | Input::Unpause | Input::Exec => Err(Refused::NotRunning),
            Input::Exited { .. }
            | Input::Started
            | Input::StartFailed { .. }
            | Input::BackoffOver
            | Input::RemoveFailed => Err(Refused::Stale),
        },
    }
}

fn at_rest(state: ContainerState, input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Start => Ok(ContainerState::Starting),
        Input::Remove { .. } => Ok(ContainerState::Removing),
        Input::Stop => Err(Refused::NotModified),
        Input::Kill | Input::Pause | Input::Exec => Err(Refused::NotRunning),
        Input::Unpause => Err(Refused::NotPaused),
        // An engine that was away can find the end of a run that its record never saw begin, and no other.
        Input::Exited { .. } if state == ContainerState::Created => Err(Refused::Stale),
        Input::Exited { .. }
        | Input::Started
        | Input::StartFailed { .. }
        | Input::BackoffOver
        | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn starting(input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Started => Ok(ContainerState::Running),
        Input::StartFailed { ran_before: false } => Ok(ContainerState::Created),
        Input::StartFailed { ran_before: true } => Ok(ContainerState::Exited),
        // Seen only at start-up: the engine died between the start and its record of it.
        Input::Exited { .. } => Ok(ContainerState::Exited),
        Input::Start | Input::Stop | Input::Remove { .. } => Err(Refused::Busy),
        Input::Kill | Input::Pause | Input::Exec => Err(Refused::NotRunning),
        Input::Unpause => Err(Refused::NotPaused),
        Input::BackoffOver | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn running(input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Start => Err(Refused::NotModified),
        Input::Stop | Input::Remove { force: true } => Ok(ContainerState::Stopping),
        Input::Kill | Input::Exec => Ok(ContainerState::Running),
        Input::Pause => Ok(ContainerState::Paused),
        Input::Unpause => Err(Refused::NotPaused),
        Input::Exited { restart } => Ok(after_exit(restart)),
        Input::Remove { force: false } => Err(Refused::Running),
        Input::Started | Input::StartFailed { .. } | Input::BackoffOver | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn paused(input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Start | Input::Exec | Input::Pause | Input::Remove { force: false } => Err(Refused::Paused),
        Input::Stop | Input::Remove { force: true } => Ok(ContainerState::Stopping),
        Input::Kill => Ok(ContainerState::Paused),
        Input::Unpause => Ok(ContainerState::Running),
        Input::Exited { restart } => Ok(after_exit(restart)),
        Input::Started | Input::StartFailed { .. } | Input::BackoffOver | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn stopping(input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Start => Err(Refused::NotModified),
        Input::Stop | Input::Kill | Input::Exec | Input::Remove { force: true } => Ok(ContainerState::Stopping),
        Input::Pause => Err(Refused::Busy),
        Input::Unpause => Err(Refused::NotPaused),
        Input::Exited { restart } => Ok(after_exit(restart)),
        Input::Remove { force: false } => Err(Refused::Running),
        Input::Started | Input::StartFailed { .. } | Input::BackoffOver | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn restarting(input: Input) -> Result<ContainerState, Refused> {
    match input {
        Input::Start => Err(Refused::NotModified),
        Input::Stop | Input::Kill => Ok(ContainerState::Exited),
        Input::Pause | Input::Exec | Input::Remove { force: false } => Err(Refused::Restarting),
        Input::Unpause => Err(Refused::NotPaused),
        Input::BackoffOver => Ok(ContainerState::Starting),
        Input::Remove { force: true } => Ok(ContainerState::Removing),
        Input::Exited { .. } | Input::Started | Input::StartFailed { .. } | Input::RemoveFailed => Err(Refused::Stale),
    }
}

fn after_exit(restart: bool) -> ContainerState {
    if restart { ContainerState::Restarting } else { ContainerState::Exited }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Start),
            Just(Input::Started),
            any::<bool>().prop_map(|ran_before| Input::StartFailed { ran_before }),
            Just(Input::Stop),
            Just(Input::Kill),
            Just(Input::Pause),
            Just(Input::Unpause),
            Just(Input::Exec),
            any::<bool>().prop_map(|restart| Input::Exited { restart }),
            Just(Input::BackoffOver),
            any::<bool>().prop_map(|force| Input::Remove { force }),
            Just(Input::RemoveFailed),
        ]
    }

    proptest! {
        #[test]
        fn a_process_exists_only_between_a_start_and_an_exit(inputs in prop::collection::vec(any_input(), 0..64)) {
            let mut state = ContainerState::Created;
            let mut process = false;
            for input in inputs {
                let Ok(next) = apply(state, input) else { continue };
                match input {
                    Input::Started => {
                        prop_assert!(!process, "started twice");
                        process = true;
                    }
                    Input::Exited { .. } => process = false,
                    _ => {}
                }
                prop_assert_eq!(next.has_process(), process, "{:?} --{:?}--> {:?}", state, input, next);
                // What is being removed comes back only as dead, and never with a process.
                if state == ContainerState::Removing {
                    prop_assert!(matches!(next, ContainerState::Dead));
                }
                state = next;
            }
        }

        #[test]
        fn a_stop_always_leads_to_rest(inputs in prop::collection::vec(any_input(), 0..32)) {
            let mut state = ContainerState::Created;
            for input in inputs {
                state = apply(state, input).unwrap_or(state);
            }
            if state == ContainerState::Starting {
                state = apply(state, Input::Started).unwrap();
            }
            state = apply(state, Input::Stop).unwrap_or(state);
            state = apply(state, Input::Exited { restart: false }).unwrap_or(state);
            prop_assert!(state.is_at_rest(), "{:?}", state);
        }
    }

    #[test]
    fn start_is_refused_while_removing() {
        assert_eq!(apply(ContainerState::Removing, Input::Start), Err(Refused::Removing));
        assert_eq!(apply(ContainerState::Dead, Input::Start), Err(Refused::Removing));
    }

    #[test]
    fn a_failed_start_falls_back_to_where_it_came_from() {
        let back = |ran_before| apply(ContainerState::Starting, Input::StartFailed { ran_before });
        assert_eq!(back(false), Ok(ContainerState::Created));
        assert_eq!(back(true), Ok(ContainerState::Exited));
    }

    #[test]
    fn a_stop_during_the_back_off_ends_it() {
        assert_eq!(apply(ContainerState::Restarting, Input::Stop), Ok(ContainerState::Exited));
    }
}
