//! PURE: what a process is doing, and what may be done to it.

/// The life of a process.
///
/// ```text
/// Added --Create--> Created --Start--> Running <--Pause/Resume--> Paused
///   |                  |                  |                          |
///   +------------------+------ Exit ------+--------------------------+--> Stopped --Delete--> (gone)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// An exec that was asked for; no process yet.
    Added,
    /// The process waits before its exec.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Create,
    Start,
    Pause,
    Resume,
    Exit,
    Delete,
}

impl ProcessState {
    /// The next state, or why the input is refused in this one.
    pub(crate) fn apply(self, input: Input) -> Result<Self, String> {
        use Input as I;
        use ProcessState as S;
        match (self, input) {
            (S::Added, I::Create) => Ok(S::Created),
            (S::Created, I::Start) => Ok(S::Running),
            (S::Running, I::Pause) => Ok(S::Paused),
            (S::Paused, I::Resume) => Ok(S::Running),
            (S::Added | S::Created | S::Running | S::Paused | S::Stopped, I::Exit) => Ok(S::Stopped),
            (S::Stopped | S::Added, I::Delete) => Ok(S::Stopped),
            (state, input) => Err(format!("cannot {} a {} process", input.verb(), state.word())),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Added => "not yet started",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Input {
    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Exit => "end",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_not_deleted() {
        assert_eq!(ProcessState::Running.apply(Input::Delete).unwrap_err(), "cannot delete a running process");
    }

    #[test]
    fn exit_is_taken_in_every_state() {
        use ProcessState as S;
        for state in [S::Added, S::Created, S::Running, S::Paused, S::Stopped] {
            assert_eq!(state.apply(Input::Exit), Ok(S::Stopped));
        }
    }

    #[test]
    fn a_process_starts_once() {
        assert!(ProcessState::Running.apply(Input::Start).is_err());
        assert!(ProcessState::Stopped.apply(Input::Start).is_err());
    }
}
