//! One process per sandbox: owns processes, stdio, logs and exit codes; holds the built-in OCI runtime.

fn main() {}
