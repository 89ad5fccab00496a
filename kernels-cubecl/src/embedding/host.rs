//! The embedding in plain Rust.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::reference;
use crate::host::{
    Scalar, contiguous, for_each_share, ids, into_tensor, rows_per_share, shared_dtype, unwritten,
    vectorised,
};

/// weight `[V, D]`, ids `[R]` → `[R, D]`.
pub(crate) fn forward(weight: FlexTensor, ids: FlexTensor) -> FlexTensor {
    match shared_dtype([&weight]) {
        Some(DType::F32) => rows_of::<f32>(weight, ids),
        Some(DType::F64) => rows_of::<f64>(weight, ids),
        _ => reference::forward::<Flex>(weight, ids),
    }
}

/// ids `[R]`, dy `[R, D]` → `[V, D]`.
pub(crate) fn backward(ids: FlexTensor, dy: FlexTensor, vocab_size: usize) -> FlexTensor {
    match shared_dtype([&dy]) {
        Some(DType::F32) => sum_by_id::<f32>(ids, dy, vocab_size),
        Some(DType::F64) => sum_by_id::<f64>(ids, dy, vocab_size),
        _ => reference::backward::<Flex>(ids, dy, vocab_size),
    }
}

fn rows_of<E: Scalar>(weight: FlexTensor, of: FlexTensor) -> FlexTensor {
    let [_, width] = weight.shape().dims();
    let (weight, ids) = (contiguous(weight), ids(of));
    let weight = weight.elements::<E>();
    let mut y = unwritten::<E>(ids.len() * width);
    let per_share = rows_per_share(ids.len(), 2 * ids.len() * width);
    let shares = ids.chunks(per_share).zip(y.chunks_mut(per_share * width));
    for_each_share(shares, |(ids, y)| {
        for (&id, y) in ids.iter().zip(y.chunks_exact_mut(width)) {
            y.write_copy_of_slice(&weight[id as usize * width..][..width]);
        }
    });
    // SAFETY: the shares cover all rows, of which each has been written.
    unsafe { into_tensor(y, [ids.len(), width]) }
}

/// Each share is a range of ids and reads all rows in order: so is the sum of each id.
fn sum_by_id<E: Scalar>(of: FlexTensor, dy: FlexTensor, vocab_size: usize) -> FlexTensor {
    let [rows, width] = dy.shape().dims();
    let (ids, dy) = (ids(of), contiguous(dy));
    let dy = dy.elements::<E>();
    let mut sums = vec![E::ZERO; vocab_size * width];
    let per_share = rows_per_share(vocab_size, (vocab_size + 2 * rows) * width); // ids
    let shares = (0..vocab_size).step_by(per_share).zip(sums.chunks_mut(per_share * width));
    for_each_share(shares, |(first, sums)| {
        vectorised(
            #[inline(always)]
            || {
                let own = first..first + sums.len() / width;
                for (&id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
                    if !own.contains(&(id as usize)) {
                        continue;
                    }
                    let sum = &mut sums[(id as usize - first) * width..][..width];
                    for (sum, &dy) in sum.iter_mut().zip(dy) {
                        *sum = *sum + dy;
                    }
                }
            },
        );
    });
    E::tensor(sums, [vocab_size, width].into())
}
