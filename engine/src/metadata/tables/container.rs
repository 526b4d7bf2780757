//! The `container` table: one row for each container, its record as JSON.

use rusqlite::{Connection, params};

use crate::container::record::ContainerRecord;
use crate::error::{Error, Result};

/// Stores `record`, replacing its former version.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub(crate) fn put(connection: &Connection, record: &ContainerRecord) -> Result<()> {
    let text = serde_json::to_string(record).map_err(|e| Error::internal("encode a container").with_source(e))?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO container (id, name, owner, sandbox_id, record) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            record.id.as_str(),
            record.name,
            record.spec.owner.as_str(),
            record.sandbox_id.as_str(),
            text
        ])?;
    Ok(())
}

/// Removes a row; a missing one is no error.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub(crate) fn delete(connection: &Connection, id: &str) -> Result<()> {
    connection.prepare_cached("DELETE FROM container WHERE id = ?1")?.execute(params![id])?;
    Ok(())
}

/// All records. One that cannot be read is an error of its own and does not hide the others.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Result<ContainerRecord>>> {
    let mut statement = connection.prepare("SELECT id, record FROM container")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(id, text)| ContainerRecord::from_json(&id, &text)).map_err(Error::from)).collect()
}
