//! tinyllama-infer
