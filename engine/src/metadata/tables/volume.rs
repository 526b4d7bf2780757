//! The `volume` table: one row is one volume.

use rusqlite::{Connection, params};

use crate::error::Result;
use crate::metadata::tables::{from_json, to_json};
use crate::volume::VolumeRecord;

/// Stores a new volume.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn insert(connection: &Connection, record: &VolumeRecord) -> Result<()> {
    let json = to_json(record)?;
    connection.execute("INSERT INTO volume (name, record) VALUES (?1, ?2)", params![record.name, json])?;
    Ok(())
}

/// Forgets a volume.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn delete(connection: &Connection, name: &str) -> Result<()> {
    connection.execute("DELETE FROM volume WHERE name = ?1", params![name])?;
    Ok(())
}

/// All volumes.
///
/// # Errors
/// `Internal` when a row cannot be read.
pub fn list(connection: &Connection) -> Result<Vec<VolumeRecord>> {
    let mut statement = connection.prepare("SELECT record FROM volume ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| from_json("volume", &row?)).collect()
}
