//! What the shim itself has to say: lines on standard error, which is the bundle's `shim.log`.

use std::io::Write as _;

/// Says a line. Nothing is done when that fails.
pub(crate) fn say(message: &str) {
    let time = shim_api::time::rfc3339(shim_api::time::now_unix_ns());
    let _ = writeln!(std::io::stderr(), "{time} {message}");
}
