//! Linear projection without bias, `y = x·Wᵀ`.
//!
//! The weight is stored `[out, in]` as in PyTorch: the forward pass of a GEMM and the matrix-vector
//! product of decoding both read it row by row. Gradients: `dx = dy·W`, `dW = dyᵀ·x`.

pub(crate) mod autodiff;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelBackend;

/// `x·Wᵀ` over the last dimension of `x`.
///
/// # Shapes
/// x `[.., in]`, weight `[out, in]` → `[.., out]`.
///
/// # Panics
/// When the last dimension of `x` is not the weight's `in`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    let mut dims = x.dims();
    let [out_features, in_features] = weight.dims();
    assert_eq!(
        dims[D - 1],
        in_features,
        "linear: x has {:?}, the weight is [{out_features}, {in_features}]",
        dims
    );
    let rows = dims[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, in_features]); // [R, in]
    let y = Dispatch::linear_forward(x.into_dispatch(), weight.into_dispatch());
    dims[D - 1] = out_features;
    Tensor::<2>::from_dispatch(y).reshape(dims)
}
