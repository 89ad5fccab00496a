//! Linear in Burn's own matrix products.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

/// `x·Wᵀ`: `[R, in]`, `[out, in]` → `[R, out]`.
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_swap_dims(weight, 0, 1))
}

/// `dy·W`: `[R, out]`, `[out, in]` → `[R, in]`.
pub(crate) fn dgrad<B: Backend>(dy: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(dy, weight)
}

/// `dyᵀ·x`: `[R, out]`, `[R, in]` → `[out, in]`.
pub(crate) fn wgrad<B: Backend>(dy: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(B::float_swap_dims(dy, 0, 1), x)
}
