//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).
//!
//! ```text
//! rstd = 1 / sqrt(mean(x²) + eps)                 one per row, in f32 whatever the dtype of x
//! y    = x · rstd · w
//! dw   = Σ_rows dy · x · rstd
//! dx   = rstd · (g − x̂ · mean(g · x̂))             with x̂ = x · rstd and g = dy · w
//! ```

mod autodiff;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use autodiff::rms_norm as autodiff_rms_norm;
pub(crate) use reference::{backward, forward};

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelBackend;

/// Normalises the last dimension of `x` and scales it by `weight`.
///
/// # Shapes
/// x `[.., D]`, weight `[D]` → `[.., D]`.
///
/// # Panics
/// When the last dimension of `x` is not the weight's.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let dims = x.dims();
    let [width] = weight.dims();
    assert_eq!(dims[D - 1], width, "rms_norm: x has {dims:?}, the weight is [{width}]");
    let rows = dims[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, width]); // [R, D]
    let (y, _rstd) = Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps);
    Tensor::<2>::from_dispatch(y).reshape(dims)
}

/// Output shapes for lazy backends: y like x, rstd `[R]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(
    x: &burn::backend::fusion::custom::TensorSpec,
    _weight: &burn::backend::fusion::custom::TensorSpec,
    _eps: &f64,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let rstd = burn::backend::fusion::custom::TensorSpec::new(
        [x.shape[0]].into(),
        crate::precision::statistics_dtype(x.dtype),
    );
    (x.clone(), rstd)
}
