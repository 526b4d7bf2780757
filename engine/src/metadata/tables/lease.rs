//! The `lease` table: what work in flight holds.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::Digest;

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Its id.
    pub id: String,
    /// Unix seconds after which it holds nothing any more.
    pub expires: i64,
    /// What it holds.
    pub record: LeaseRecord,
}

/// What a lease holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Version of this record.
    pub v: u32,
    /// For whom, in words.
    pub purpose: String,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Layers, by diff id.
    pub layers: Vec<Digest>,
}

/// Records a lease, in place of the one with its id.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, row: &LeaseRow) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO lease (id, expires, record) VALUES (?1, ?2, ?3)",
        params![row.id, row.expires, super::to_json(&row.record)?],
    )?;
    Ok(())
}

/// Forgets a lease.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, id: &str) -> Result<()> {
    connection.execute("DELETE FROM lease WHERE id = ?1", params![id])?;
    Ok(())
}

/// All leases.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<LeaseRow>> {
    let mut statement = connection.prepare("SELECT id, expires, record FROM lease")?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))?;
    rows.map(|row| {
        let (id, expires, record) = row?;
        let record = super::from_json("lease", &record)?;
        Ok(LeaseRow { id, expires, record })
    })
    .collect()
}
