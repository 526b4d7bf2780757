//! Places where a test can make the engine fail or die. In release builds they are nothing.
//!
//! `GANTRY_FAILPOINTS="start.before_create=error;create.stored=abort"` arms them from outside; a test inside the
//! process uses [`arm`]. Each armed point acts once.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

/// What an armed failpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The step fails.
    Error,
    /// The process dies at once, as from SIGKILL.
    Abort,
}

fn armed() -> &'static Mutex<HashMap<String, Action>> {
    static ARMED: OnceLock<Mutex<HashMap<String, Action>>> = OnceLock::new();
    ARMED.get_or_init(|| Mutex::new(parse(&std::env::var("GANTRY_FAILPOINTS").unwrap_or_default())))
}

fn parse(text: &str) -> HashMap<String, Action> {
    let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter_map(|(name, action)| match action {
            "error" => Some((name.to_owned(), Action::Error)),
            "abort" => Some((name.to_owned(), Action::Abort)),
            _ => None,
        })
        .collect()
}

/// Arms `name` for its next pass.
pub fn arm(name: &str, action: Action) {
    armed().lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), action);
}

/// A step named `name` is about to go on.
///
/// # Errors
/// `Internal` when a test wants it so.
pub(crate) fn failpoint(name: &str) -> Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    match armed().lock().unwrap_or_else(PoisonError::into_inner).remove(name) {
        None => Ok(()),
        Some(Action::Error) => Err(Error::internal(format!("failpoint {name}"))),
        Some(Action::Abort) => std::process::abort(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_acts_once_and_unknown_actions_are_ignored() {
        let points = parse("a=error; b=abort;c=dance;d");
        assert_eq!(points.len(), 2);
        assert_eq!(points["b"], Action::Abort);
        arm("failpoint.test", Action::Error);
        assert!(failpoint("failpoint.test").is_err());
        assert!(failpoint("failpoint.test").is_ok());
    }
}
