//! The one database of the engine: what is on disk, drawn in one place.
//!
//! `meta.db` is SQLite in WAL mode. Every table has the object's id as key, the columns that are searched by, and the
//! object's record as JSON in `record` (versioned by the field `v` of the record itself).
//!
//! ```text
//! blob       digest · size · media_type · created          content/blobs/sha256/<hex>
//! ingest     key · digest · offset · hash state · updated  content/ingest/<key>   (a download in progress)
//! layer      chain-free layer: diff_id · digest · size     snapshots/layers/<hex>/
//! image      id (config digest) · record
//! image_name reference · image_id · owner · record         a tag or digest reference -> image
//! snapshot   key · parent layers · kind · record           snapshots/active/<key>/{fs,work}
//! container  id · name · owner · sandbox_id · record
//! sandbox    id · name · owner · record
//! network    id · name · record
//! endpoint   id · network_id · sandbox_id · record
//! address    network_id · address · endpoint_id            IPAM: one row is one lease
//! volume     name · record
//! lease      id · expires · holds (json)                   keeps work in flight alive
//! event      seq · time · record                           bounded ring for replay
//! build_cache key · record                                 a step's inputs by their digest -> its layer
//! setting    key · value                                   schema version, daemon id
//! ```
//!
//! Order of writes: data is on disk and synced before the row that names it; a row is stored before it is published
//! or replied. Only this module speaks SQL outside of `tables/`.

mod store;
pub mod tables;

pub use store::{Durability, Store};
