//! Garbage collection: what no image, snapshot or lease needs is removed.

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Layers.
    pub layers: usize,
    /// Unfinished downloads.
    pub ingests: usize,
    /// Expired leases.
    pub leases: usize,
    /// Bytes that became free, as recorded.
    pub bytes: u64,
}
