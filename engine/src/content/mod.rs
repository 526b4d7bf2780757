//! The content store: blobs by digest in an OCI image layout on disk.
