//! Linear as plain matrix products.

use burn::backend::tensor::FloatTensor;

use crate::matmul::Matmul;

/// `x·Wᵀ`: `[R, in]`, `[out, in]` → `[R, out]`.
pub(crate) fn forward<B: Matmul>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::matmul(x, B::float_swap_dims(weight, 0, 1))
}

/// `dy·W`: `[R, out]`, `[out, in]` → `[R, in]`.
pub(crate) fn dgrad<B: Matmul>(dy: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::matmul(dy, weight)
}

/// `dyᵀ·x`: `[R, out]`, `[R, in]` → `[out, in]`.
pub(crate) fn wgrad<B: Matmul>(dy: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
    B::matmul(B::float_swap_dims(dy, 0, 1), x)
}
