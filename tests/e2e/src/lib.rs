//! End-to-end tests through both doors, with real clients and a real registry.
