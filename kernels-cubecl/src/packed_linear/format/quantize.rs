//! f32 to blocks, by the rounding rules of GGML's reference (`ggml-quants.c`): equal to the bit.

use half::{bf16, f16};

use super::Format;

impl Format {
    /// Whether [`Format::quantize`] writes this format.
    pub const fn can_quantize(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::Q4_0 | Self::Q8_0)
    }

    /// Whether a number of this magnitude has a finite place: floats round it, and the scale of a block
    /// whose largest element it is must be a finite f16.
    pub fn holds(self, magnitude: f32) -> bool {
        match self {
            Self::F32 => magnitude.is_finite(),
            Self::Bf16 => bf16::from_f32(magnitude).is_finite(),
            Self::F16 => f16::from_f32(magnitude).is_finite(),
            Self::Q4_0 => f16::from_f32(magnitude / 8.0).is_finite(),
            Self::Q8_0 => f16::from_f32(magnitude / 127.0).is_finite(),
            _ => false,
        }
    }

    /// The blocks of `values`, whole ones; nearest values in plain floats.
    ///
    /// In Q4_0 and Q8_0 NaN becomes 0. An infinite value, or one whose scale exceeds f16's 65,504 (8 and
    /// 127 times that), makes the scale infinite, as in GGML: its block reads as infinities and NaN.
    ///
    /// # Panics
    /// When the format cannot be written ([`Format::can_quantize`]) or a block is incomplete.
    pub fn quantize(self, values: &[f32]) -> Vec<u8> {
        assert!(self.row_bytes(values.len()).is_some(), "{self}: whole blocks");
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            Self::Q4_0 => values.as_chunks::<32>().0.iter().flat_map(q4_0).collect(),
            Self::Q8_0 => values.as_chunks::<32>().0.iter().flat_map(q8_0).collect(),
            _ => panic!("{self} is read, not written"),
        }
    }
}

/// The element furthest from zero becomes −8, which the scale's sign makes possible for both signs.
fn q4_0(values: &[f32; 32]) -> [u8; 18] {
    let furthest = values.iter().fold(0f32, |furthest, &x| match x.abs() > furthest.abs() {
        true => x,
        false => furthest,
    });
    let d = furthest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let code = |x: f32| match x * inverse + 8.5 {
        _ if x.is_nan() => 8,
        code if code.is_finite() => (code as u8).min(15),
        // Beside an infinity, or where d is too small for an inverse. GGML's cast gives 0 on x86.
        _ => 0,
    };
    let mut block = [0; 18];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for k in 0..16 {
        block[2 + k] = code(values[k]) | code(values[k + 16]) << 4;
    }
    block
}

fn q8_0(values: &[f32; 32]) -> [u8; 34] {
    let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (code, x) in block[2..].iter_mut().zip(values) {
        *code = match (x * inverse).round() {
            code if code.is_finite() => code as i8 as u8,
            _ => 0, // As in `q4_0`, and for NaN.
        };
    }
    block
}
