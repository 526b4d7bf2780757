//! gantryd: reads the configuration, recovers, serves both doors.

fn main() {}
