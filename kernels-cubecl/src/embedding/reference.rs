//! The embedding in Burn's tensor operations.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, Shape};

use crate::precision::{statistics_dtype, to_dtype, to_f32};

/// weight `[V, D]`, ids `[R]` → `[R, D]`.
pub(crate) fn forward<B: Backend>(weight: FloatTensor<B>, ids: IntTensor<B>) -> FloatTensor<B> {
    B::float_select(weight, 0, ids)
}

/// ids `[R]`, dy `[R, D]` → `[V, D]`, summed in f32.
pub(crate) fn backward<B: Backend>(
    ids: IntTensor<B>,
    dy: FloatTensor<B>,
    vocab_size: usize,
) -> FloatTensor<B> {
    let dtype = dy.dtype();
    let [_, width] = dy.shape().dims();
    let shape = Shape::new([vocab_size, width]);
    let zeros = B::float_zeros(shape, &dy.device(), statistics_dtype(dtype).into());
    let sum = B::float_select_assign(zeros, 0, ids, to_f32::<B>(dy), IndexingUpdateOp::Add);
    to_dtype::<B>(sum, dtype)
}
