//! GGUF files made byte by byte, whole ones and all kinds of broken ones, and real ones.

mod builder;
