//! The CRI door: runtime.v1 over gRPC. Translates, decides nothing.
