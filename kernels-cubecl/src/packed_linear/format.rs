//! How the elements of a matrix are laid out in bytes: the plain floats, and GGML's blocks of small
//! integers with scales (<https://github.com/ggml-org/ggml>, `ggml-common.h`), as GGUF files hold them.
//!
//! Rows are whole numbers of blocks, so that rows can be cut, stacked and permuted without a change
//! of their bytes.

mod dequantize;
mod quantize;
#[cfg(test)]
mod tests;

use std::fmt;

/// The layout of a matrix's rows. Element k of a row is part of block k / [`Format::block_elements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats, little-endian as all formats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 32 elements d·(q − 8): f16 d, then 4-bit q, elements 0–15 in the low halves of 16 bytes.
    Q4_0,
    /// 32 elements d·q + m: f16 d, f16 m, 4-bit q as in [`Format::Q4_0`].
    Q4_1,
    /// 32 elements d·(q − 16): f16 d, 32 fifth bits, four lower bits as in [`Format::Q4_0`].
    Q5_0,
    /// 32 elements d·q + m: f16 d, f16 m, 5-bit q as in [`Format::Q5_0`].
    Q5_1,
    /// 32 elements d·q: f16 d, signed bytes q.
    Q8_0,
    /// 256 elements in 8 groups, each d·s·q − dmin·m: f16 d, f16 dmin, 6-bit s and m, 4-bit q.
    Q4K,
    /// As [`Format::Q4K`] with 5-bit q.
    Q5K,
    /// 256 elements in 16 groups, each d·s·(q − 32): 6-bit q, signed bytes s, f16 d.
    Q6K,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Elements that share scales; 1 for plain floats.
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `columns` elements; `None` where that is no whole number of blocks.
    pub const fn row_bytes(self, columns: usize) -> Option<usize> {
        match columns.is_multiple_of(self.block_elements()) {
            true => (columns / self.block_elements()).checked_mul(self.block_bytes()),
            false => None,
        }
    }

    /// GGML's name, as `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
