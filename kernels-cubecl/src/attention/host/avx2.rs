//! One query against many keys and values in AVX2 and FMA: of the short sums of products here LLVM makes
//! no wide vectors.

use std::arch::x86_64::*;

/// Keys whose sums are added up together.
const KEYS: usize = 4;

/// Whether this machine has the instructions for heads of `head_dim` elements.
pub(super) fn is_available(head_dim: usize) -> bool {
    head_dim.is_multiple_of(8)
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

/// scores[i] = scale · Σ query · key i, where keys lie `stride` apart.
///
/// # Safety
/// [`is_available`] is true for the query's length; there are as many keys as scores, as long as it.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn score(
    query: &[f32],
    keys: *const f32,
    stride: usize,
    scale: f32,
    scores: &mut [f32],
) {
    let last = scores.len().saturating_sub(1);
    let scale = _mm_set1_ps(scale);
    for (first, scores) in scores.chunks_mut(KEYS).enumerate() {
        let mut sums = [_mm256_setzero_ps(); KEYS];
        // Of an incomplete four, the last key is taken again.
        let at: [usize; KEYS] = [0, 1, 2, 3];
        // SAFETY: at most the last of the keys.
        let keys = at.map(|key| unsafe { keys.add((first * KEYS + key).min(last) * stride) });
        for start in (0..query.len()).step_by(8) {
            // SAFETY: start + 8 is at most the length of the query, and that of a key.
            let query = unsafe { _mm256_loadu_ps(query.as_ptr().add(start)) };
            for (sum, key) in sums.iter_mut().zip(keys) {
                // SAFETY: as above.
                let key = unsafe { _mm256_loadu_ps(key.add(start)) };
                *sum = _mm256_fmadd_ps(query, key, *sum);
            }
        }
        let [a, b, c, d] = sums;
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
        let mut four = [0.0; KEYS];
        // SAFETY: four f32.
        unsafe { _mm_storeu_ps(four.as_mut_ptr(), _mm_mul_ps(sums, scale)) };
        scores.copy_from_slice(&four[..scores.len()]);
    }
}

/// out += Σ weights[i] · value i, where values lie `stride` apart.
///
/// # Safety
/// [`is_available`] is true for the length of `out`; there are as many values as weights, as long as it.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add(weights: &[f32], values: *const f32, stride: usize, out: &mut [f32]) {
    let mut start = 0;
    while start < out.len() {
        // SAFETY: each call has its registers' elements of out and of the values before it.
        unsafe {
            let (values, out) = (values.add(start), &mut out[start..]);
            start += match out.len() {
                64.. => add_registers::<8>(weights, values, stride, out),
                32.. => add_registers::<4>(weights, values, stride, out),
                _ => add_registers::<1>(weights, values, stride, out),
            };
        }
    }
}

/// As [`add`], for the first 8·N elements, which stay in registers meanwhile; returns their number.
///
/// # Safety
/// As of [`add`], with at least 8·N elements.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_registers<const N: usize>(
    weights: &[f32],
    values: *const f32,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let out = out[..8 * N].as_mut_ptr();
    let mut sums = [_mm256_setzero_ps(); N];
    for (register, sum) in sums.iter_mut().enumerate() {
        // SAFETY: 8·N elements.
        *sum = unsafe { _mm256_loadu_ps(out.add(8 * register)) };
    }
    for (index, &weight) in weights.iter().enumerate() {
        let weight = _mm256_set1_ps(weight);
        for (register, sum) in sums.iter_mut().enumerate() {
            // SAFETY: value `index` has 8·N elements.
            let value = unsafe { _mm256_loadu_ps(values.add(index * stride + 8 * register)) };
            *sum = _mm256_fmadd_ps(weight, value, *sum);
        }
    }
    for (register, &sum) in sums.iter().enumerate() {
        // SAFETY: 8·N elements.
        unsafe { _mm256_storeu_ps(out.add(8 * register), sum) };
    }
    8 * N
}
