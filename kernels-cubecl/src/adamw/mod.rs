//! AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) on flat buffers, one pass over memory.
//!
//! ```text
//! g ← scale · g
//! m ← β₁ m + (1 − β₁) g            v ← β₂ v + (1 − β₂) g²
//! p ← p (1 − lr · λ) − lr · m̂ / (√v̂ + ε)      m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
//! ```
//!
//! `scale` clips by the global norm of all gradients. It stays on the device, so that a step never waits
//! for a number to come back.

#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelUpdate;

/// The constants of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// lr.
    pub learning_rate: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε, outside of the root.
    pub eps: f64,
    /// λ, multiplied by the learning rate.
    pub weight_decay: f64,
    /// t, from 1.
    pub number: u64,
}

impl AdamWStep {
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub(crate) fn bias_corrections(&self) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powf(self.number as f64);
        (correction(self.beta1), correction(self.beta2))
    }
}

/// Sum of the squares of a flat buffer: `[len]` → `[1]` in f32, the same bits in every run.
pub fn squared_norm(gradient: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::squared_norm(gradient.into_dispatch()))
}

/// One update of a flat buffer: (parameter, exp_avg, exp_avg_sq), in the memory of the old ones when
/// nobody else holds them.
///
/// # Shapes
/// parameter, moments and gradient `[len]`; scale `[1]`.
///
/// # Panics
/// When the shapes do not agree.
pub fn adamw(
    parameter: Tensor<1>,
    [exp_avg, exp_avg_sq]: [Tensor<1>; 2],
    gradient: Tensor<1>,
    scale: Tensor<1>,
    step: AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let len = parameter.dims();
    assert!(
        len == exp_avg.dims()
            && len == exp_avg_sq.dims()
            && len == gradient.dims()
            && scale.dims() == [1],
        "adamw: parameter {len:?}, moments {:?} and {:?}, gradient {:?}, scale {:?}",
        exp_avg.dims(),
        exp_avg_sq.dims(),
        gradient.dims(),
        scale.dims()
    );
    let (parameter, exp_avg, exp_avg_sq) = Dispatch::adamw(
        parameter.into_dispatch(),
        exp_avg.into_dispatch(),
        exp_avg_sq.into_dispatch(),
        gradient.into_dispatch(),
        scale.into_dispatch(),
        step,
    );
    let moments = [exp_avg, exp_avg_sq].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(parameter), moments)
}

/// Output shape for lazy backends: `[1]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn sum_specs(
    gradient: &burn::backend::fusion::custom::TensorSpec,
) -> burn::backend::fusion::custom::TensorSpec {
    let dtype = crate::precision::statistics_dtype(gradient.dtype);
    burn::backend::fusion::custom::TensorSpec::new([1].into(), dtype)
}
