//! RoPE in plain Rust, over x when nobody else holds it.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::reference;
use crate::host::{
    Scalar, contiguous, for_each_share, ids, overwritable, owned, rows_per_share, shared_dtype,
    vectorised,
};

/// x `[B, T, heads, H]`, tables `[P, H/2]`, offsets `[1 or B]` → like x; `inverse` negates the angle.
pub(crate) fn forward(
    x: FlexTensor,
    cos: FlexTensor,
    sin: FlexTensor,
    offsets: FlexTensor,
    rotated: usize,
    inverse: bool,
) -> FlexTensor {
    match shared_dtype([&x, &cos, &sin]) {
        Some(DType::F32) => rotate::<f32>(x, cos, sin, offsets, rotated, inverse),
        Some(DType::F64) => rotate::<f64>(x, cos, sin, offsets, rotated, inverse),
        _ => reference::forward::<Flex>(x, cos, sin, offsets, rotated, inverse),
    }
}

fn rotate<E: Scalar>(
    x: FlexTensor,
    cos: FlexTensor,
    sin: FlexTensor,
    offsets: FlexTensor,
    rotated: usize,
    inverse: bool,
) -> FlexTensor {
    let [batch, length, heads, head_dim] = x.shape().dims();
    let (cos, sin, offsets) = (contiguous(cos), contiguous(sin), ids(offsets));
    let (cos, sin) = (cos.elements::<E>(), sin.elements::<E>());
    let (half, width) = (head_dim / 2, heads * head_dim);
    let mut x = owned::<E>(x);
    let rows = overwritable::<E>(&mut x).expect("owned");
    let per_share = rows_per_share(batch * length, batch * length * rotated * head_dim);
    let shares = (0..batch * length).step_by(per_share).zip(rows.chunks_mut(per_share * width));
    for_each_share(shares, |(first, rows)| {
        vectorised(
            #[inline(always)]
            || {
                for (row, x) in rows.chunks_exact_mut(width).enumerate() {
                    let (sequence, token) = ((first + row) / length, (first + row) % length);
                    // Of one offset for all sequences, every sequence has the first.
                    let offset = offsets[sequence % offsets.len()];
                    let start = (offset as usize + token) * half;
                    let (cos, sin) = (&cos[start..][..half], &sin[start..][..half]);
                    for head in x[..rotated * head_dim].chunks_exact_mut(head_dim) {
                        rotate_head(head, cos, sin, inverse);
                    }
                }
            },
        );
    });
    x
}

/// Turns the pairs (i, i + H/2) of one head.
#[inline(always)]
fn rotate_head<E: Scalar>(head: &mut [E], cos: &[E], sin: &[E], inverse: bool) {
    let sign = if inverse { -E::ONE } else { E::ONE };
    let (first, second) = head.split_at_mut(cos.len());
    for (((first, second), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (a, b, sin) = (*first, *second, sign * sin);
        *first = a * cos - b * sin;
        *second = a * sin + b * cos;
    }
}
