//! `POST /containers/{id}/attach`: talk to the first process.

use engine::container::AttachOptions;

use crate::call::Call;
use crate::detach_keys;
use crate::hijack::{self, Peer, Talk};
use crate::reply::Outcome;
use crate::status_code::Failure;

pub(crate) async fn attach(call: Call) -> Outcome {
    let container = call.container()?;
    let (options, detach_keys) = options(&call)?;
    // Connected before the answer, so that nothing the process writes after it is missed.
    let attached = container.attach(options).await?;
    let talk = Talk { tty: attached.tty, detach_keys: attached.tty.then_some(detach_keys) };
    let kind = hijack::content_type(call.version, attached.tty);
    hijack::take_over(call, kind, false, Peer::Process(attached, Some(container)), talk).await
}

/// What of the process is wanted, and the keys that let it go.
pub(super) fn options(call: &Call) -> Result<(AttachOptions, Vec<u8>), Failure> {
    let keys = call.query.text("detachKeys").to_owned();
    let detach_keys = detach_keys::parse(&keys)?;
    let options = AttachOptions {
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        logs: call.query.flag("logs"),
        stream: call.query.flag("stream"),
        detach_keys: keys,
    };
    Ok((options, detach_keys))
}
