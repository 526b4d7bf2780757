//! The `endpoint` table: one row is one sandbox's place in one network.

use rusqlite::{Connection, params};

use crate::error::Result;
use crate::id::EndpointId;
use crate::metadata::tables::{from_json, to_json};
use crate::network::EndpointRecord;

/// Stores an endpoint.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn insert(connection: &Connection, record: &EndpointRecord) -> Result<()> {
    let json = to_json(record)?;
    connection.execute(
        "INSERT INTO endpoint (id, network_id, sandbox_id, record) VALUES (?1, ?2, ?3, ?4)",
        params![record.id.as_str(), record.network_id.as_str(), record.sandbox.as_str(), json],
    )?;
    Ok(())
}

/// Stores an endpoint anew.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn replace(connection: &Connection, record: &EndpointRecord) -> Result<()> {
    let json = to_json(record)?;
    connection.execute("UPDATE endpoint SET record = ?2 WHERE id = ?1", params![record.id.as_str(), json])?;
    Ok(())
}

/// Forgets an endpoint.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn delete(connection: &Connection, id: &EndpointId) -> Result<()> {
    connection.execute("DELETE FROM endpoint WHERE id = ?1", params![id.as_str()])?;
    Ok(())
}

/// All endpoints, in the order of their creation.
///
/// # Errors
/// `Internal` when a row cannot be read.
pub fn list(connection: &Connection) -> Result<Vec<EndpointRecord>> {
    let mut statement = connection.prepare("SELECT record FROM endpoint ORDER BY rowid")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| from_json("endpoint", &row?)).collect()
}
