//! What was asked for over gRPC and waits for its client to come: by a token that is good once, for a short time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::proto as cri;

/// Requests that wait at once.
const WAITING_MAX: usize = 1000;
/// How long a request waits for its client.
const WAITS_MAX: Duration = Duration::from_secs(60);
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// What a client may do with its token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// Run a command.
    Exec(cri::ExecRequest),
    /// Talk to the first process.
    Attach(cri::AttachRequest),
    /// Reach ports of a sandbox.
    PortForward(cri::PortForwardRequest),
}

impl Asked {
    /// The first part of the path that it is answered on.
    pub(super) const fn verb(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }
}

/// Why no token was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// [`WAITING_MAX`] wait already.
    TooMany,
    /// The kernel gave no random bytes.
    NoRandomness,
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (Asked, Instant)>>);

impl Tokens {
    /// Keeps a request and gives the token for it.
    pub(super) fn issue(&self, asked: Asked) -> Result<String, Refused> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| Refused::NoRandomness)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let now = Instant::now();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, until)| *until > now);
        if waiting.len() >= WAITING_MAX {
            return Err(Refused::TooMany);
        }
        waiting.insert(token.clone(), (asked, now + WAITS_MAX));
        Ok(token)
    }

    /// Gives the request of a token, once, and only for the verb that it was given for.
    pub(super) fn take(&self, verb: &str, token: &str) -> Option<Asked> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(token)?.0.verb() != verb {
            return None;
        }
        let (asked, until) = waiting.remove(token)?;
        (until > Instant::now()).then_some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked::Exec(cri::ExecRequest { container_id: "c".into(), ..Default::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_once_for_its_verb_and_for_a_minute() {
        let tokens = Tokens::default();
        let token = tokens.issue(asked()).unwrap();
        assert!(token.len() >= 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(tokens.take("attach", &token), None);
        assert_eq!(tokens.take("exec", "other"), None);
        assert_eq!(tokens.take("exec", &token), Some(asked()));
        assert_eq!(tokens.take("exec", &token), None);
        let late = tokens.issue(asked()).unwrap();
        tokio::time::sleep(WAITS_MAX).await;
        assert_eq!(tokens.take("exec", &late), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_that_wait_is_bounded_and_the_old_make_room() {
        let tokens = Tokens::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..WAITING_MAX {
            assert!(seen.insert(tokens.issue(asked()).unwrap()));
        }
        assert_eq!(tokens.issue(asked()), Err(Refused::TooMany));
        tokio::time::sleep(WAITS_MAX).await;
        assert!(tokens.issue(asked()).is_ok());
    }
}
