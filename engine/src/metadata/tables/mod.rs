//! One file for each table: typed reads and writes, nothing else.

pub mod event;
pub mod setting;
