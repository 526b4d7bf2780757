//! How an exec ended, as its client reads it on the error channel.

use bytes::Bytes;
use serde_json::json;

/// The form of what goes over the error channel; it depends on the negotiated version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusForm {
    /// Up to version 3: a sentence, and nothing on success.
    Text,
    /// From version 4: a `metav1.Status` in JSON.
    Json,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Exit code 0, or an attach whose output is over.
    Success,
    /// Another exit code.
    ExitCode(i32),
    /// It could not be run, or its end is not known.
    Failed(String),
}

/// What to write, if anything.
pub(super) fn encode(outcome: &Outcome, form: StatusForm) -> Bytes {
    match form {
        StatusForm::Text => sentence(outcome).into(),
        StatusForm::Json => document(outcome).to_string().into(),
    }
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Success => String::new(),
        Outcome::ExitCode(code) => format!("command terminated with non-zero exit code: exit status {code}"),
        Outcome::Failed(why) => format!("Internal error occurred: {why}"),
    }
}

/// `metav1.Status`; kubectl takes the exit code from the cause `ExitCode`.
fn document(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Success => json!({ "metadata": {}, "status": "Success" }),
        Outcome::ExitCode(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": sentence(outcome),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Outcome::Failed(why) => json!({
            "metadata": {},
            "status": "Failure",
            "message": sentence(outcome),
            "reason": "InternalError",
            "details": { "causes": [{ "message": why }] },
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_kubectl_reads() {
        assert_eq!(encode(&Outcome::Success, StatusForm::Text), "");
        assert_eq!(encode(&Outcome::Success, StatusForm::Json), r#"{"metadata":{},"status":"Success"}"#);
        let text = encode(&Outcome::ExitCode(3), StatusForm::Text);
        assert_eq!(text, "command terminated with non-zero exit code: exit status 3");
        let parsed: serde_json::Value =
            serde_json::from_slice(&encode(&Outcome::ExitCode(3), StatusForm::Json)).unwrap();
        assert_eq!(parsed["reason"], "NonZeroExitCode");
        assert_eq!(parsed["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));
        let failed = encode(&Outcome::Failed("no \"x\"".into()), StatusForm::Json);
        let parsed: serde_json::Value = serde_json::from_slice(&failed).unwrap();
        assert_eq!((&parsed["code"], &parsed["reason"]), (&json!(500), &json!("InternalError")));
        assert_eq!(parsed["message"], "Internal error occurred: no \"x\"");
    }
}
