//! The `setting` table: values that belong to the whole database, such as this daemon's id.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::error::Result;

/// The value stored under `key`.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn get(connection: &Connection, key: &str) -> Result<Option<String>> {
    Ok(connection.query_row("SELECT value FROM setting WHERE key = ?1", params![key], |row| row.get(0)).optional()?)
}

/// Stores `value` under `key`, replacing what was there.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, key: &str, value: &str) -> Result<()> {
    connection.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?1, ?2)", params![key, value])?;
    Ok(())
}
