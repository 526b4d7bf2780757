//! Fakes, builders and the leak census for tests.
