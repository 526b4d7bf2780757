//! `POST /containers/{id}/wait`: headers at once, the exit code when the condition holds.

use docker_api::container::{WaitError, WaitResponse};
use engine::container::WaitCondition;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

pub(crate) async fn wait(call: Call) -> Outcome {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Failure::bad_request(format!("invalid condition: {other:?}"))),
    };
    // The wait begins here, before the client sees the headers: it starts the container only after them.
    let outcome = call.container()?.wait(condition);
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = outcome => outcome,
            () = pieces.closed() => return,
        };
        let body = match outcome {
            Ok(outcome) => WaitResponse {
                status_code: outcome.exit_code.into(),
                error: (!outcome.error.is_empty()).then_some(WaitError { message: outcome.error }),
            },
            Err(error) => WaitResponse { status_code: -1, error: Some(WaitError { message: error.to_string() }) },
        };
        // A client that has gone needs no answer.
        drop(pieces.line(&body, "\n").await);
    });
    Ok(response)
}
