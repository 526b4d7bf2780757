//! Giving an image a further name.

use crate::error::{Error, Result};
use crate::id::Owner;
use crate::metadata::tables::image::{ImageNameRecord, ImageNameRow};

use super::index::{Change, Images, not_found};
use super::reference::Reference;

impl Images {
    /// Names `source` also `target`; `target` is taken from the image that had it.
    ///
    /// # Errors
    /// `NotFound` for `source`; `InvalidArgument` when `target` is no name, or has a digest.
    pub async fn tag(&self, source: &str, target: &str, owner: Owner) -> Result<()> {
        let target: Reference = target.parse()?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let reference = target.or_latest();
        let lock = self.lock().await;
        let catalogue = self.catalogue();
        let (image, found_by) = catalogue.find(source)?;
        let (record, _) = catalogue.records.get(&image).ok_or_else(|| not_found(source))?;
        let mut record = (**record).clone();
        if !record.owners.contains(&owner) {
            record.owners.push(owner);
        }
        // What the registry said of the one name holds for the other: an index stays one.
        let target = found_by.and_then(|name| catalogue.names.get(&name)).and_then(|row| row.record.target);
        let name = ImageNameRecord { v: 1, target, named: jiff::Timestamp::now() };
        let row = ImageNameRow { reference, image, owner, record: name };
        let change = Change { put_images: vec![(image, record)], put_names: vec![row], ..Change::default() };
        self.apply(&lock, change).await
    }
}
