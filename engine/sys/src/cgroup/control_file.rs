//! Reading and writing the kernel's one-value files.
