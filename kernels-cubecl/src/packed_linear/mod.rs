//! A projection whose weight stays as it was stored: 16-bit floats or blocks of small integers.

mod format;

pub use format::Format;
