//! The `snapshot` table: stacks of layers, with a writable directory or without.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::error::Result;
use crate::snapshot::{SnapshotKind, SnapshotView};

/// Records a snapshot. Answers `false`, and changes nothing, when the key is taken.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn insert(connection: &Connection, snapshot: &SnapshotView) -> Result<bool> {
    let key = snapshot.key.as_str();
    let taken = connection.query_row("SELECT 1 FROM snapshot WHERE key = ?1", params![key], |_| Ok(())).optional()?;
    if taken.is_some() {
        return Ok(false);
    }
    let kind = match snapshot.kind {
        SnapshotKind::Active => "active",
        SnapshotKind::View => "view",
    };
    connection.execute(
        "INSERT INTO snapshot (key, kind, record) VALUES (?1, ?2, ?3)",
        params![key, kind, super::to_json(snapshot)?],
    )?;
    Ok(true)
}

/// Forgets a snapshot.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, key: &str) -> Result<()> {
    connection.execute("DELETE FROM snapshot WHERE key = ?1", params![key])?;
    Ok(())
}

/// All snapshots.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<SnapshotView>> {
    let mut statement = connection.prepare("SELECT record FROM snapshot")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|record| super::from_json("snapshot", &record?)).collect()
}
