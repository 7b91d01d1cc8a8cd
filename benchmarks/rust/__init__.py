"""Measures beside the Rust crate that the library follows."""
