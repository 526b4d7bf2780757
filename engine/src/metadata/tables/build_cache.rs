//! The `build_cache` table: what steps of builds have made.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::Digest;
use crate::metadata::tables::image::LayerRef;

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Version of this record.
    pub v: u32,
    /// The layer that the step made.
    pub layer: LayerRef,
    /// The step in words, without the values of arguments.
    pub description: String,
    /// The layer that it stands on.
    pub parent: Option<Digest>,
    /// Bytes of the layer on disk.
    pub bytes: u64,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When a build last took it.
    pub last_used: jiff::Timestamp,
    /// How often builds took it.
    pub uses: u64,
}

/// Stores a result, in place of what was known under its key.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, key: Digest, record: &CacheRecord) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO build_cache (key, record) VALUES (?1, ?2)",
        params![key.to_string(), super::to_json(record)?],
    )?;
    Ok(())
}

/// Forgets a result.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, key: Digest) -> Result<()> {
    connection.execute("DELETE FROM build_cache WHERE key = ?1", params![key.to_string()])?;
    Ok(())
}

/// All results.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<(Digest, CacheRecord)>> {
    let mut statement = connection.prepare("SELECT key, record FROM build_cache")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (key, record) = row?;
        Ok((key.parse()?, super::from_json("cached build step", &record)?))
    })
    .collect()
}
