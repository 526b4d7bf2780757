//! The same request for several objects: at the same time, told in order, failures collected.

use std::future::Future;

use futures_util::StreamExt;

use crate::error::{Error, Result};
use crate::output::println;

/// Requests in flight at once.
const AT_ONCE_MAX: usize = 50;

/// Acts on every name and prints what each action gives. All failures together are the command's error.
pub(crate) async fn each<'n, F, W>(names: &'n [String], act: F) -> Result<()>
where
    F: Fn(&'n str) -> W,
    W: Future<Output = Result<String>>,
{
    let mut results = futures_util::stream::iter(names).map(|name| act(name)).buffered(AT_ONCE_MAX);
    let mut failures = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(text) => println(&text)?,
            Err(error) => failures.push(error),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(Error::message(lines.join("\n")))
}
