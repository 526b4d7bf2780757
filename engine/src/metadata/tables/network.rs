//! The `network` table: one row is one network.

use rusqlite::{Connection, params};

use crate::error::Result;
use crate::id::NetworkId;
use crate::metadata::tables::{from_json, to_json};
use crate::network::NetworkRecord;

/// Stores a new network.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn insert(connection: &Connection, record: &NetworkRecord) -> Result<()> {
    let json = to_json(record)?;
    connection.execute(
        "INSERT OR REPLACE INTO network (id, name, record) VALUES (?1, ?2, ?3)",
        params![record.id.as_str(), record.name, json],
    )?;
    Ok(())
}

/// Forgets a network.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn delete(connection: &Connection, id: &NetworkId) -> Result<()> {
    connection.execute("DELETE FROM network WHERE id = ?1", params![id.as_str()])?;
    Ok(())
}

/// All networks, in the order of their creation.
///
/// # Errors
/// `Internal` when a row cannot be read.
pub fn list(connection: &Connection) -> Result<Vec<NetworkRecord>> {
    let mut statement = connection.prepare("SELECT record FROM network ORDER BY rowid")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| from_json("network", &row?)).collect()
}
