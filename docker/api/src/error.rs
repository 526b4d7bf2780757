//! What a failed request answers.

use serde::{Deserialize, Serialize};

/// Body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// The sentence that clients show.
    pub message: String,
}
