//! `docker history`: the steps of an image joined with the sizes of its layers.

use crate::id::ImageId;

/// One line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// The image id on the newest line; the other lines have none (docker prints `<missing>`).
    pub id: Option<ImageId>,
    /// When the step was made.
    pub created: Option<jiff::Timestamp>,
    /// Its command.
    pub created_by: String,
    /// Bytes of its layer, 0 if it made none.
    pub size: u64,
    /// Free text.
    pub comment: String,
    /// Familiar tags on the newest line.
    pub tags: Vec<String>,
}
