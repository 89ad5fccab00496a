//! The integration tests: one binary, one module for each promise that spans crates.

mod tidy; // The tree itself: file sizes, leftovers, one-way dependencies, the two READMEs.
