//! The `event` table: a bounded ring, newest last.

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::event::Event;

/// Appends an event.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn insert(connection: &Connection, event: &Event) -> Result<()> {
    let record = serde_json::to_string(event).map_err(|e| Error::internal("encode an event").with_source(e))?;
    let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
    connection.prepare_cached("INSERT INTO event (seq, time, record) VALUES (?1, ?2, ?3)")?.execute(params![
        seq,
        event.time_ns,
        record
    ])?;
    Ok(())
}

/// Removes events with smaller numbers than `seq`.
///
/// # Errors
/// `Internal` when the database cannot be written.
pub fn remove_before(connection: &Connection, seq: u64) -> Result<()> {
    connection.execute("DELETE FROM event WHERE seq < ?1", params![i64::try_from(seq).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// The newest `count` events, oldest of them first.
///
/// # Errors
/// `Internal` when the database cannot be read.
pub fn newest(connection: &Connection, count: usize) -> Result<Vec<Event>> {
    let mut statement = connection.prepare("SELECT record FROM event ORDER BY seq DESC LIMIT ?1")?;
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![limit], |row| row.get::<_, String>(0))?;
    let mut events = Vec::new();
    for row in rows {
        events.push(serde_json::from_str(&row?).map_err(|e| Error::internal("decode an event").with_source(e))?);
    }
    events.reverse();
    Ok(events)
}
