//! Trees of files as tars, both ways, for people: `cp`, `export`, `import`, `commit`. Layers have their own way in
//! (`snapshot/apply.rs`), because whiteouts mean something there.

mod compressed;
pub(crate) mod extract;
pub(crate) mod pack;
mod pieces;

pub(crate) use compressed::uncompressed;
pub(crate) use pieces::stream;

/// The bytes of an archive as they are made. Dropping it stops the work behind it.
pub type ArchiveStream = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;
