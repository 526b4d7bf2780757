//! The `sandbox` table: one row for each sandbox, its record as JSON.

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::sandbox::record::SandboxRecord;

/// Stores `record`, replacing its former version.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub(crate) fn put(connection: &Connection, record: &SandboxRecord) -> Result<()> {
    let text = serde_json::to_string(record).map_err(|e| Error::internal("encode a sandbox").with_source(e))?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO sandbox (id, name, owner, record) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![record.id.as_str(), record.spec.name, record.owner().as_str(), text])?;
    Ok(())
}

/// Removes a row; a missing one is no error.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub(crate) fn delete(connection: &Connection, id: &str) -> Result<()> {
    connection.prepare_cached("DELETE FROM sandbox WHERE id = ?1")?.execute(params![id])?;
    Ok(())
}

/// All records. One that cannot be read is an error of its own and does not hide the others.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Result<SandboxRecord>>> {
    let mut statement = connection.prepare("SELECT id, record FROM sandbox")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(id, text)| SandboxRecord::from_json(&id, &text)).map_err(Error::from)).collect()
}
