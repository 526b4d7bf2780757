//! The Docker door: Engine REST API over unix sockets and TCP with mutual TLS. Translates, decides nothing.
