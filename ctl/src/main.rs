//! gantry: the docker-style client for people. Talks only REST.

fn main() {}
