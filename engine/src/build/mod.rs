//! Building images: Dockerfile in, image out.

pub mod dockerfile;
