//! `docker history`: the steps of an image joined with the sizes of its layers.

use crate::error::Result;
use crate::id::{ImageId, LayerId};

use super::config::HistoryEntry;
use super::index::Images;

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

impl Images {
    /// The lines of `docker history`, newest first.
    ///
    /// # Errors
    /// As [`Images::get`].
    pub fn history(&self, name_or_id: &str) -> Result<Vec<HistoryItem>> {
        let image = self.get(name_or_id)?;
        let size = |layer: LayerId| self.overlay().layer(layer).map_or(0, |record| record.bytes);
        let mut lines = join(&image.history, &image.layers, size);
        if let Some(newest) = lines.first_mut() {
            newest.id = Some(image.id);
            newest.tags = image.names.iter().map(super::Reference::familiar).collect();
        }
        Ok(lines)
    }
}

/// PURE. Steps that made a layer take the layers in order; layers without a step (imported images) get a line each.
fn join(steps: &[HistoryEntry], layers: &[LayerId], size: impl Fn(LayerId) -> u64) -> Vec<HistoryItem> {
    let mut layers = layers.iter().copied();
    let line = |created: Option<&str>, created_by: &str, comment: &str, size: u64| HistoryItem {
        id: None,
        created: created.and_then(|text| text.parse().ok()),
        created_by: created_by.to_owned(),
        size,
        comment: comment.to_owned(),
        tags: Vec::new(),
    };
    let mut lines: Vec<HistoryItem> = steps
        .iter()
        .map(|step| {
            let bytes = if step.empty_layer { 0 } else { layers.next().map_or(0, &size) };
            line(step.created.as_deref(), &step.created_by, &step.comment, bytes)
        })
        .collect();
    lines.extend(layers.map(|layer| line(None, "", "", size(layer))));
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;

    #[test]
    fn steps_take_their_layers_in_order_and_none_is_lost() {
        let step =
            |by: &str, empty_layer| HistoryEntry { created_by: by.to_owned(), empty_layer, ..Default::default() };
        let layers = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        let size = |layer| if layer == layers[0] { 10 } else { 20 };
        let lines = join(&[step("ADD", false), step("ENV", true), step("COPY", false)], &layers, size);
        let seen: Vec<_> = lines.iter().map(|l| (l.created_by.as_str(), l.size)).collect();
        assert_eq!(seen, [("", 20), ("COPY", 20), ("ENV", 0), ("ADD", 10)]);
    }
}
