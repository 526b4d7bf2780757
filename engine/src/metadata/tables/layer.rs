//! The `layer` table: what is unpacked, synced and ready to be stacked.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Its diff id, which is also its directory.
    pub id: LayerId,
    /// The blob that it was first unpacked from.
    pub digest: Digest,
    /// Everything else.
    pub record: LayerRecord,
}

/// The stored part of a layer that is not searched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Version of this record.
    pub v: u32,
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes on disk.
    pub inodes: u64,
    /// Whether its archive describes the root directory.
    pub names_root: bool,
    /// Directories that its archive has files in but does not describe: their mode and owner come from lower layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implied: Vec<String>,
    /// When it was unpacked.
    pub created: jiff::Timestamp,
}

/// Records a layer; one that is known already stays as it is.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, row: &LayerRow) -> Result<()> {
    let size = i64::try_from(row.record.bytes).map_err(|_| Error::internal("a layer's size is out of range"))?;
    connection.execute(
        "INSERT OR IGNORE INTO layer (diff_id, digest, size, record) VALUES (?1, ?2, ?3, ?4)",
        params![row.id.to_string(), row.digest.to_string(), size, super::to_json(&row.record)?],
    )?;
    Ok(())
}

/// Forgets a layer.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, id: LayerId) -> Result<()> {
    connection.execute("DELETE FROM layer WHERE diff_id = ?1", params![id.to_string()])?;
    Ok(())
}

/// All layers.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<LayerRow>> {
    let mut statement = connection.prepare("SELECT diff_id, digest, record FROM layer")?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
    rows.map(|row| {
        let (id, digest, record) = row?;
        Ok(LayerRow { id: id.parse()?, digest: digest.parse()?, record: super::from_json("layer", &record)? })
    })
    .collect()
}
