//! PURE. The rules of a sandbox's life: one enum ([`SandboxPhase`]), one `apply`, no effects.

use crate::sandbox::SandboxPhase;

/// What can happen to a sandbox, or be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It is to be up: a pod is run, or a container starts in its own sandbox.
    Up,
    /// It is up.
    IsUp,
    /// It could not be brought up.
    UpFailed,
    /// It is to be taken down.
    Stop,
    /// It is down.
    IsDown,
    /// Its shim has gone by itself.
    Lost,
    /// It is to be removed.
    Remove,
    /// Something of it could not be removed.
    RemoveFailed,
}

/// Why an input is not possible in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is so already.
    AlreadySo,
    /// It is up: it must be stopped first.
    IsUp,
    /// It is being taken down or removed.
    Ending,
    /// An observation that this phase cannot have.
    Stale,
}

/// The phase after `input`, or why there is none.
///
/// # Errors
/// [`Refused`]; the phase stays as it is.
pub fn apply(phase: SandboxPhase, input: Input) -> Result<SandboxPhase, Refused> {
    use SandboxPhase as P;
    match (phase, input) {
        (P::NotReady, Input::Up) => Ok(P::Creating),
        (P::Creating, Input::IsUp) => Ok(P::Ready),
        (P::Creating, Input::UpFailed) | (P::Stopping, Input::IsDown) => Ok(P::NotReady),
        // What a lost shim leaves (endpoints, ports) is still to be taken down.
        (P::Ready, Input::Lost) | (P::Ready | P::Creating, Input::Stop) => Ok(P::Stopping),
        (P::NotReady, Input::Remove) => Ok(P::Removing),
        (P::Removing, Input::RemoveFailed) => Ok(P::NotReady),
        (P::Ready, Input::Up) | (P::NotReady, Input::Stop) => Err(Refused::AlreadySo),
        // A stop that failed half-way is asked for again: it goes on where it was.
        (P::Stopping, Input::Stop) => Ok(P::Stopping),
        (P::Ready | P::Creating, Input::Remove) => Err(Refused::IsUp),
        (P::Stopping | P::Removing, Input::Up | Input::Remove) | (P::Removing, Input::Stop) => Err(Refused::Ending),
        (P::Creating, Input::Up) => Err(Refused::AlreadySo),
        (_, Input::IsUp | Input::UpFailed | Input::IsDown | Input::Lost | Input::RemoveFailed) => Err(Refused::Stale),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INPUTS: [Input; 8] = [
        Input::Up,
        Input::IsUp,
        Input::UpFailed,
        Input::Stop,
        Input::IsDown,
        Input::Lost,
        Input::Remove,
        Input::RemoveFailed,
    ];

    proptest! {
        #[test]
        fn it_is_removed_only_after_it_is_down(picks in prop::collection::vec(0..INPUTS.len(), 0..64)) {
            let mut phase = SandboxPhase::NotReady;
            let mut up = false;
            for pick in picks {
                let Ok(next) = apply(phase, INPUTS[pick]) else { continue };
                match INPUTS[pick] {
                    Input::Up => up = true,
                    Input::IsDown | Input::UpFailed => up = false,
                    _ => {}
                }
                prop_assert!(next != SandboxPhase::Removing || !up, "removed while up");
                prop_assert!(next != SandboxPhase::Ready || up, "ready without coming up");
                phase = next;
            }
        }
    }

    #[test]
    fn stop_is_idempotent() {
        assert_eq!(apply(SandboxPhase::NotReady, Input::Stop), Err(Refused::AlreadySo));
        assert_eq!(apply(SandboxPhase::Stopping, Input::Stop), Ok(SandboxPhase::Stopping));
    }
}
