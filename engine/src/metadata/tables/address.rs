//! The `address` table: one row is one address in use. Its key keeps an address from being given twice.

use std::net::IpAddr;

use rusqlite::{Connection, params};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{EndpointId, NetworkId};

/// Leases an address of a network to an endpoint.
///
/// # Errors
/// `AlreadyExists` when it is leased.
pub fn insert(connection: &Connection, network: &NetworkId, address: IpAddr, endpoint: &EndpointId) -> Result<()> {
    let added = connection.execute(
        "INSERT OR IGNORE INTO address (network_id, address, endpoint_id) VALUES (?1, ?2, ?3)",
        params![network.as_str(), address.to_string(), endpoint.as_str()],
    )?;
    if added == 1 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::AlreadyExists, format!("address {address} is already in use")))
    }
}

/// Gives back all addresses of an endpoint.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn delete_of(connection: &Connection, endpoint: &EndpointId) -> Result<()> {
    connection.execute("DELETE FROM address WHERE endpoint_id = ?1", params![endpoint.as_str()])?;
    Ok(())
}

/// Gives back the addresses whose endpoint has no row; answers how many.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn delete_orphans(connection: &Connection) -> Result<usize> {
    Ok(connection.execute("DELETE FROM address WHERE endpoint_id NOT IN (SELECT id FROM endpoint)", [])?)
}

/// Number of leases of a network, for tests and diagnosis.
///
/// # Errors
/// `Internal` when it cannot be read.
pub fn count(connection: &Connection, network: &NetworkId) -> Result<u64> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM address WHERE network_id = ?1",
        params![network.as_str()],
        |row| row.get(0),
    )?;
    Ok(count.cast_unsigned())
}
