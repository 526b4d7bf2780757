//! The `image` and `image_name` tables.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{Digest, ImageId, LayerId, Owner};
use crate::image::{ManifestRef, Reference};

/// What is stored of an image; its configuration is a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Version of this record.
    pub v: u32,
    /// The manifest it last came with.
    pub manifest: ManifestRef,
    /// Bytes of the configuration.
    pub config_size: u64,
    /// The layers of that manifest, lowest first.
    pub layers: Vec<LayerRef>,
    /// The doors that brought it.
    pub owners: Vec<Owner>,
    /// Never swept, never removed without force.
    pub pinned: bool,
    /// Doors that pulled it with credentials; empty once anybody had it without.
    #[serde(default)]
    pub pulled_with_auth: Vec<Owner>,
    /// When it first came.
    pub added: jiff::Timestamp,
}

/// A layer of an image: the blob, and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// The layer.
    pub diff_id: LayerId,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNameRow {
    /// With tag or with digest, never both.
    pub reference: Reference,
    /// What it stands for.
    pub image: ImageId,
    /// The door that gave the name.
    pub owner: Owner,
    /// Everything else.
    pub record: ImageNameRecord,
}

/// The stored part of a name that is not searched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNameRecord {
    /// Version of this record.
    pub v: u32,
    /// What the registry's answer to the name was: the digest of a manifest or an index.
    pub target: Option<Digest>,
    /// When it was given.
    pub named: jiff::Timestamp,
}

/// Stores an image, in place of what was known of it.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put(connection: &Connection, id: ImageId, record: &ImageRecord) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO image (id, record) VALUES (?1, ?2)",
        params![id.to_string(), super::to_json(record)?],
    )?;
    Ok(())
}

/// Forgets an image.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove(connection: &Connection, id: ImageId) -> Result<()> {
    connection.execute("DELETE FROM image WHERE id = ?1", params![id.to_string()])?;
    Ok(())
}

/// All images.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<(ImageId, ImageRecord)>> {
    let mut statement = connection.prepare("SELECT id, record FROM image")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, record) = row?;
        Ok((id.parse()?, super::from_json("image", &record)?))
    })
    .collect()
}

/// Gives a name to an image, taking it from another that had it.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn put_name(connection: &Connection, row: &ImageNameRow) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO image_name (reference, image_id, owner, record) VALUES (?1, ?2, ?3, ?4)",
        params![row.reference.to_string(), row.image.to_string(), row.owner.as_str(), super::to_json(&row.record)?],
    )?;
    Ok(())
}

/// Takes a name away.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove_name(connection: &Connection, reference: &Reference) -> Result<()> {
    connection.execute("DELETE FROM image_name WHERE reference = ?1", params![reference.to_string()])?;
    Ok(())
}

/// All names.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn all_names(connection: &Connection) -> Result<Vec<ImageNameRow>> {
    let mut statement = connection.prepare("SELECT reference, image_id, owner, record FROM image_name")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    })?;
    rows.map(|row| {
        let (reference, image, owner, record) = row?;
        let owner = match owner.as_str() {
            "docker" => Owner::Docker,
            "cri" => Owner::Cri,
            other => return Err(Error::internal(format!("image name {reference}: unknown owner {other:?}"))),
        };
        let record = super::from_json("image name", &record)?;
        Ok(ImageNameRow { reference: reference.parse()?, image: image.parse()?, owner, record })
    })
    .collect()
}
