//! Leases: what keeps work in flight alive until it is recorded or given up.
