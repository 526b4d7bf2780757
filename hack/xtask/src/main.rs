//! cargo xtask: tidy and the other checks a developer runs.

fn main() {}
