//! The image that is shipped with the engine: loaded at the first start, so that a machine with no registry can run
//! something.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::image::Images;
use crate::metadata::tables::setting;
use crate::metadata::{Durability, Store};

/// Key of the file that was loaded last.
const SETTING: &str = "embedded_image";

/// Loads the archive at `path` unless this very file was loaded before: a user who removed the image keeps it removed.
///
/// # Errors
/// When the file cannot be read or is no image archive.
pub(crate) async fn load(store: &Store, images: &Images, path: &Path) -> Result<()> {
    let about = |e: std::io::Error| Error::from(e).context(format!("images.embedded_image: {}", path.display()));
    let meta = std::fs::metadata(path).map_err(about)?;
    let mark = format!("{}:{}:{}:{}", path.display(), meta.len(), meta.mtime(), meta.mtime_nsec());
    if store.read(|c| setting::get(c, SETTING))?.as_deref() == Some(mark.as_str()) {
        return Ok(());
    }
    let archive = tokio::fs::File::open(path).await.map_err(about)?;
    let loaded = images.load_pinned(archive).await.map_err(|e| e.context("images.embedded_image"))?;
    let names: Vec<String> = loaded.iter().filter_map(|image| Some(image.reference.as_ref()?.familiar())).collect();
    tracing::info!(images = ?names, "loaded the embedded image");
    store.write(Durability::Power, move |tx| setting::put(tx, SETTING, &mark)).await
}
