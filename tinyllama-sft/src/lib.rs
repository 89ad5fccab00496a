//! tinyllama-sft
