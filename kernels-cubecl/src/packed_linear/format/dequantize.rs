//! Blocks to f32. Every product and sum is the one of GGML's reference (`ggml-quants.c`), in its order,
//! so that the values are equal to the bit.

use super::Format;

/// Calls `$block` for each block of `$bytes` bytes and its `$elements` elements. A macro, because a
/// function handed over as a value is called where it was compiled, without its caller's SIMD width.
macro_rules! each {
    ($bytes:literal, $elements:literal, $block:ident, $blocks:ident, $out:ident) => {{
        let (blocks, _) = $blocks.as_chunks::<$bytes>();
        let (outs, _) = $out.as_chunks_mut::<$elements>();
        for (bytes, out) in blocks.iter().zip(outs) {
            $block(bytes, out);
        }
    }};
}

impl Format {
    /// Writes the elements of whole blocks to `out`.
    ///
    /// # Panics
    /// When `blocks` does not hold exactly `out.len()` elements.
    #[inline(always)] // So that it is compiled for the SIMD width of its caller.
    pub fn dequantize(self, blocks: &[u8], out: &mut [f32]) {
        assert_eq!(self.row_bytes(out.len()), Some(blocks.len()), "{self}: whole blocks");
        match self {
            Self::F32 => each!(4, 1, f32_le, blocks, out),
            Self::F16 => each!(2, 1, f16_le, blocks, out),
            Self::Bf16 => each!(2, 1, bf16_le, blocks, out),
            Self::Q4_0 => each!(18, 32, q4_0, blocks, out),
            Self::Q4_1 => each!(20, 32, q4_1, blocks, out),
            Self::Q5_0 => each!(22, 32, q5_0, blocks, out),
            Self::Q5_1 => each!(24, 32, q5_1, blocks, out),
            Self::Q8_0 => each!(34, 32, q8_0, blocks, out),
            Self::Q4K => each!(144, 256, q4_k, blocks, out),
            Self::Q5K => each!(176, 256, q5_k, blocks, out),
            Self::Q6K => each!(210, 256, q6_k, blocks, out),
        }
    }
}

#[inline(always)]
fn f32_le(bytes: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = f32::from_le_bytes(*bytes);
}

#[inline(always)]
fn f16_le(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = from_f16(bytes);
}

#[inline(always)]
fn bf16_le(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
}

/// The f16 in the first two bytes.
#[inline(always)]
fn from_f16(bytes: &[u8]) -> f32 {
    widened(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// An f16 as f32, without branches, as the FP16 library (<https://github.com/Maratyszcza/FP16>) and
/// GGML do it. `half` asks for the CPU's abilities at every element; this becomes SIMD code.
#[inline(always)]
fn widened(half: u16) -> f32 {
    let bits = u32::from(half) << 16;
    let unsigned = bits << 1;
    // Exponent and fraction move to their place; 224 - 112 is the difference of the two biases. The
    // sum turns an exponent of 31, infinity or NaN, into f32's 255, which the product keeps.
    let normal = f32::from_bits((unsigned >> 4) + (224 << 23)) * TWO_TO_MINUS_112;
    // A denormal's fraction counts units of 2^-24, the last place of numbers from 0.5.
    let denormal = f32::from_bits((unsigned >> 17) | 0.5f32.to_bits()) - 0.5;
    let is_denormal = unsigned < 1 << 27;
    let magnitude = if is_denormal { denormal } else { normal };
    f32::from_bits((bits & 1 << 31) | magnitude.to_bits())
}

const TWO_TO_MINUS_112: f32 = f32::from_bits((127 - 112) << 23);

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = from_f16(block);
    for k in 0..16 {
        let pair = block[2 + k];
        out[k] = (i32::from(pair & 15) - 8) as f32 * d;
        out[k + 16] = (i32::from(pair >> 4) - 8) as f32 * d;
    }
}

#[inline(always)]
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (from_f16(block), from_f16(&block[2..]));
    for k in 0..16 {
        let pair = block[4 + k];
        out[k] = f32::from(pair & 15) * d + m;
        out[k + 16] = f32::from(pair >> 4) * d + m;
    }
}

#[inline(always)]
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = from_f16(block);
    let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for k in 0..16 {
        let pair = block[6 + k];
        let [low, high] = fifth_bits(fifth, k);
        out[k] = (i32::from((pair & 15) | low) - 16) as f32 * d;
        out[k + 16] = (i32::from((pair >> 4) | high) - 16) as f32 * d;
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (from_f16(block), from_f16(&block[2..]));
    let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for k in 0..16 {
        let pair = block[8 + k];
        let [low, high] = fifth_bits(fifth, k);
        out[k] = f32::from((pair & 15) | low) * d + m;
        out[k + 16] = f32::from((pair >> 4) | high) * d + m;
    }
}

/// The fifth bits of elements k and k + 16, in their place.
#[inline(always)]
fn fifth_bits(bits: u32, k: usize) -> [u8; 2] {
    [k, k + 16].map(|element| ((bits >> element & 1) << 4) as u8)
}

#[inline(always)]
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = from_f16(block);
    for k in 0..32 {
        out[k] = f32::from(block[2 + k] as i8) * d;
    }
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (from_f16(block), from_f16(&block[2..]));
    for half in 0..4 {
        // 32 bytes hold two groups: one in the low halves, one in the high ones.
        let [(low_scale, low_min), (high_scale, high_min)] =
            [2 * half, 2 * half + 1].map(|group| scale_and_min(block, group, d, dmin));
        for k in 0..32 {
            let pair = block[16 + 32 * half + k];
            out[64 * half + k] = low_scale * f32::from(pair & 15) - low_min;
            out[64 * half + 32 + k] = high_scale * f32::from(pair >> 4) - high_min;
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (from_f16(block), from_f16(&block[2..]));
    for half in 0..4 {
        let [(low_scale, low_min), (high_scale, high_min)] =
            [2 * half, 2 * half + 1].map(|group| scale_and_min(block, group, d, dmin));
        for k in 0..32 {
            let (pair, fifth) = (block[48 + 32 * half + k], block[16 + k]);
            let low = (pair & 15) | (fifth >> (2 * half) & 1) << 4;
            let high = (pair >> 4) | (fifth >> (2 * half + 1) & 1) << 4;
            out[64 * half + k] = low_scale * f32::from(low) - low_min;
            out[64 * half + 32 + k] = high_scale * f32::from(high) - high_min;
        }
    }
}

/// Scale and minimum of one of the eight groups of Q4_K and Q5_K: six bits each, in twelve bytes.
#[inline(always)]
fn scale_and_min(block: &[u8], group: usize, d: f32, dmin: f32) -> (f32, f32) {
    let packed = &block[4..16];
    let (scale, min) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4,
            (packed[group + 4] >> 4) | (packed[group] >> 6) << 4,
        ),
    };
    (d * f32::from(scale), dmin * f32::from(min))
}

#[inline(always)]
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = from_f16(&block[208..]);
    for half in 0..2 {
        let (low, high) = (&block[64 * half..], &block[128 + 32 * half..]);
        let scales = &block[192 + 8 * half..];
        for k in 0..32 {
            let quarters = [low[k] & 15, low[k + 32] & 15, low[k] >> 4, low[k + 32] >> 4];
            for (quarter, bits) in quarters.into_iter().enumerate() {
                let q = i32::from(bits | (high[k] >> (2 * quarter) & 3) << 4) - 32;
                let scale = d * f32::from(scales[2 * quarter + k / 16] as i8);
                out[128 * half + 32 * quarter + k] = scale * q as f32;
            }
        }
    }
}
