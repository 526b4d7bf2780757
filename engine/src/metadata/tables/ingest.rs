//! The `ingest` table: downloads that are not finished.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::Digest;

/// One unfinished download; how far it is says the length of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestRow {
    /// Its file name.
    pub key: String,
    /// What it shall become.
    pub digest: Digest,
    /// Everything else.
    pub record: IngestRecord,
    /// When it was last begun or resumed, unix seconds.
    pub updated: i64,
}

/// The stored part of an ingest that is not searched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestRecord {
    /// Version of this record.
    pub v: u32,
    /// Bytes expected.
    pub size: u64,
    /// Media type of the descriptor that asked for it.
    pub media_type: String,
}

/// Records that a download has begun or goes on.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, row: &IngestRow) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO ingest (key, digest, record, updated) VALUES (?1, ?2, ?3, ?4)",
        params![row.key, row.digest.to_string(), super::to_json(&row.record)?, row.updated],
    )?;
    Ok(())
}

/// Forgets a download.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, key: &str) -> Result<()> {
    connection.execute("DELETE FROM ingest WHERE key = ?1", params![key])?;
    Ok(())
}

/// All downloads.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<IngestRow>> {
    let mut statement = connection.prepare("SELECT key, digest, record, updated FROM ingest")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    })?;
    rows.map(|row| {
        let (key, digest, record, updated) = row?;
        let record = super::from_json("ingest", &record)?;
        Ok(IngestRow { key, digest: digest.parse()?, record, updated })
    })
    .collect()
}
