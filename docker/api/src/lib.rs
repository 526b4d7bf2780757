//! Wire types of the Docker Engine REST API. No logic.
