//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).
//!
//! ```text
//! rstd = 1 / sqrt(mean(x²) + eps)                 one per row, in f32 whatever the dtype of x
//! y    = x · rstd · w
//! dw   = Σ_rows dy · x · rstd
//! dx   = rstd · (g − x̂ · mean(g · x̂))             with x̂ = x · rstd and g = dy · w
//! ```
//!
//! A block normalises the residual stream right after adding to it: [`add_rms_norm`] does both in one
//! pass over memory.

pub(crate) mod autodiff;
#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

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

/// `sum = x + residual` and its normalisation: (y, sum).
///
/// # Shapes
/// x, residual `[.., D]`, weight `[D]` → y, sum `[.., D]`.
///
/// # Panics
/// When x and residual differ in shape, or their last dimension is not the weight's.
pub fn add_rms_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    weight: Tensor<1>,
    eps: f64,
) -> (Tensor<D>, Tensor<D>) {
    let (dims, residual_dims) = (x.dims(), residual.dims());
    let [width] = weight.dims();
    assert!(
        dims == residual_dims && dims[D - 1] == width,
        "add_rms_norm: x has {dims:?}, the residual {residual_dims:?}, the weight is [{width}]"
    );
    let rows = dims[..D - 1].iter().product::<usize>();
    let (y, sum, _rstd) = Dispatch::add_rms_norm(
        x.reshape([rows, width]).into_dispatch(), // [R, D]
        residual.reshape([rows, width]).into_dispatch(),
        weight.into_dispatch(),
        eps,
    );
    let shaped = |tensor| Tensor::<2>::from_dispatch(tensor).reshape(dims);
    (shaped(y), shaped(sum))
}

#[cfg(feature = "cubecl-backend")]
use burn::backend::fusion::custom::TensorSpec;

/// Output shapes for lazy backends: y like x, rstd `[R]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(x: &TensorSpec, _: &TensorSpec, _: &f64) -> (TensorSpec, TensorSpec) {
    let dtype = crate::precision::statistics_dtype(x.dtype);
    (x.clone(), TensorSpec::new([x.shape[0]].into(), dtype))
}

/// Output shapes for lazy backends: y and sum like x, rstd `[R]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn add_specs(
    x: &TensorSpec,
    _residual: &TensorSpec,
    weight: &TensorSpec,
    eps: &f64,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let (y, rstd) = forward_specs(x, weight, eps);
    (y, x.clone(), rstd)
}
