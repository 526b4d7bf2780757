//! The `blob` table: what is whole, verified and synced in the content store.

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::id::Digest;

/// One blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// Its digest, which is also its file name.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it was fetched as.
    pub media_type: String,
    /// Unix seconds.
    pub created: i64,
}

/// Records a blob; one that is known already stays as it is.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, row: &BlobRow) -> Result<()> {
    let size = i64::try_from(row.size).map_err(|_| Error::internal("a blob's size is out of range"))?;
    connection.execute(
        "INSERT OR IGNORE INTO blob (digest, size, media_type, created) VALUES (?1, ?2, ?3, ?4)",
        params![row.digest.to_string(), size, row.media_type, row.created],
    )?;
    Ok(())
}

/// Forgets a blob.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, digest: Digest) -> Result<()> {
    connection.execute("DELETE FROM blob WHERE digest = ?1", params![digest.to_string()])?;
    Ok(())
}

/// All blobs.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<BlobRow>> {
    let mut statement = connection.prepare("SELECT digest, size, media_type, created FROM blob")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    })?;
    rows.map(|row| {
        let (digest, size, media_type, created) = row?;
        Ok(BlobRow { digest: digest.parse()?, size: size.cast_unsigned(), media_type, created })
    })
    .collect()
}
