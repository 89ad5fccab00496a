//! The formats that decoding meets most, in AVX2, FMA and F16C.
//!
//! Compilers do not turn the unpacking of half bytes into SIMD code that keeps up with memory, so it is
//! written out: 32 elements become four registers of eight f32, which are multiplied or stored. No array is
//! mapped by a closure here: `map` is compiled without these instructions, so that nothing would be inlined.

use std::arch::x86_64::*;

use super::format::Format;

/// Elements that one step unpacks: four registers.
const STEP: usize = 32;

type Values = [__m256; 4];

/// Whether this machine has the instructions and `format` is written out here.
pub(super) fn is_available(format: Format) -> bool {
    let is_here = matches!(
        format,
        Format::F32 | Format::F16 | Format::Bf16 | Format::Q4_0 | Format::Q4_1 | Format::Q8_0
    );
    is_here
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// A row of a format to f32, as `Format::dequantize` but for the last bit of products with a sum.
///
/// # Safety
/// [`is_available`] is true for the format; `out` has the elements of `row`, a multiple of 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn unpack(format: Format, row: &[u8], out: &mut [f32]) {
    debug_assert_eq!(format.row_bytes(out.len()), Some(row.len()));
    let mut store = |step: usize, values: Values| {
        for (register, value) in values.iter().enumerate() {
            // SAFETY: step · 32 + 32 is at most the number of elements.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(step * STEP + 8 * register), *value) };
        }
    };
    each_step(format, row, &mut store);
}

/// Sums of products of `row` with R rows of x, each of `columns` elements, a multiple of 32.
///
/// # Safety
/// [`is_available`] is true for the format; `row` has `columns` elements and x `R · columns`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dot<const R: usize>(
    format: Format,
    row: &[u8],
    x: &[f32],
    columns: usize,
) -> [f32; R] {
    debug_assert_eq!(x.len(), R * columns);
    let mut sums = [[_mm256_setzero_ps(); 4]; R];
    let mut multiply = |step: usize, values: Values| {
        for (x_row, sums) in sums.iter_mut().enumerate() {
            for (register, sum) in sums.iter_mut().enumerate() {
                // SAFETY: row x_row of x has step · 32 + 32 elements at least.
                let x = unsafe {
                    _mm256_loadu_ps(x.as_ptr().add(x_row * columns + step * STEP + 8 * register))
                };
                *sum = _mm256_fmadd_ps(values[register], x, *sum);
            }
        }
    };
    each_step(format, row, &mut multiply);
    let mut totals = [0.0; R];
    for (total, [a, b, c, d]) in totals.iter_mut().zip(sums) {
        let sum = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
        *total = _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
    }
    totals
}

/// Unpacks 32 elements after the other and hands them to `each`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn each_step(format: Format, row: &[u8], each: &mut impl FnMut(usize, Values)) {
    macro_rules! steps {
        ($bytes:literal, $values:ident) => {
            for (step, bytes) in row.as_chunks::<$bytes>().0.iter().enumerate() {
                each(step, $values(bytes));
            }
        };
    }
    match format {
        Format::F32 => steps!(128, f32s),
        Format::F16 => steps!(64, f16s),
        Format::Bf16 => steps!(64, bf16s),
        Format::Q4_0 => steps!(18, q4_0),
        Format::Q4_1 => steps!(20, q4_1),
        Format::Q8_0 => steps!(34, q8_0),
        other => unreachable!("{other} is not written out here"),
    }
}

/// `[f(0), f(1), f(2), f(3)]`.
macro_rules! four {
    (|$part:ident| $value:expr) => {{
        [
            {
                let $part = 0;
                $value
            },
            {
                let $part = 1;
                $value
            },
            {
                let $part = 2;
                $value
            },
            {
                let $part = 3;
                $value
            },
        ]
    }};
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn f32s(bytes: &[u8; 128]) -> Values {
    // SAFETY: 4 · 8 · 4 bytes.
    four!(|part| unsafe { _mm256_loadu_ps(bytes.as_ptr().add(32 * part).cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn f16s(bytes: &[u8; 64]) -> Values {
    // SAFETY: 4 · 8 · 2 bytes.
    four!(|part| _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().add(16 * part).cast()) }))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bf16s(bytes: &[u8; 64]) -> Values {
    four!(|part| {
        // SAFETY: 4 · 8 · 2 bytes.
        let words = unsafe { _mm_loadu_si128(bytes.as_ptr().add(16 * part).cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(words)))
    })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_0(block: &[u8; 18]) -> Values {
    let d = half([block[0], block[1]]);
    let offset = _mm256_mul_ps(d, _mm256_set1_ps(-8.0));
    let codes = nibbles(block.last_chunk().expect("16 of 18 bytes"));
    four!(|part| _mm256_fmadd_ps(codes[part], d, offset))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_1(block: &[u8; 20]) -> Values {
    let (d, m) = (half([block[0], block[1]]), half([block[2], block[3]]));
    let codes = nibbles(block.last_chunk().expect("16 of 20 bytes"));
    four!(|part| _mm256_fmadd_ps(codes[part], d, m))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0(block: &[u8; 34]) -> Values {
    let d = half([block[0], block[1]]);
    four!(|part| {
        // SAFETY: 4 · 8 bytes behind the scale.
        let codes = unsafe { _mm_loadl_epi64(block.as_ptr().add(2 + 8 * part).cast()) };
        _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), d)
    })
}

/// An f16 in all lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn half(bits: [u8; 2]) -> __m256 {
    let bits = i32::from(u16::from_le_bytes(bits));
    _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
}

/// The low halves of 16 bytes, then their high halves, as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(bytes: &[u8; 16]) -> Values {
    // SAFETY: 16 bytes.
    let pairs = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let mask = _mm_set1_epi8(15);
    let low = _mm_and_si128(pairs, mask);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(pairs), mask);
    [
        eight(low),
        eight(_mm_unpackhi_epi64(low, low)),
        eight(high),
        eight(_mm_unpackhi_epi64(high, high)),
    ]
}

/// The lower eight bytes as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eight(codes: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes))
}
