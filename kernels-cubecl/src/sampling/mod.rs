//! Drawing the next token on the device of the logits, so that decoding never waits for them.
//!
//! The steps are those of transformers, in its order: the temperature divides, the `top_k` largest logits
//! stay, of these in falling order the fewest whose probabilities reach `top_p` (Holtzman et al. 2019,
//! arXiv 1904.09751). Equal logits at a boundary all stay: what stays is what is at least a threshold,
//! which a device finds without sorting. Of what stayed, in order of ids, the first token is drawn whose
//! summed probability exceeds `uniform`.

#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::KernelSampling;

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Divides the logits; 0 takes the first of the largest.
    pub temperature: f64,
    /// 0 switches it off.
    pub top_k: usize,
    /// In (0, 1]; 1 switches it off.
    pub top_p: f64,
}

/// One id per row.
///
/// # Shapes
/// logits `[B, V]`, uniform `[B]` in [0, 1) → `[B]`.
///
/// # Panics
/// When the row counts differ.
pub fn sample(logits: Tensor<2>, uniform: Tensor<1>, options: SamplingOptions) -> Tensor<1, Int> {
    let ([rows, _], [numbers]) = (logits.dims(), uniform.dims());
    assert_eq!(rows, numbers, "sample: {rows} rows of logits, {numbers} random numbers");
    Tensor::from_dispatch(Dispatch::sample(
        logits.into_dispatch(),
        uniform.into_dispatch(),
        options,
    ))
}

/// Output shape for lazy backends: ids `[B]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn sample_specs(
    logits: &burn::backend::fusion::custom::TensorSpec,
    _uniform: &burn::backend::fusion::custom::TensorSpec,
    _options: &SamplingOptions,
) -> burn::backend::fusion::custom::TensorSpec {
    burn::backend::fusion::custom::TensorSpec::new(
        [logits.shape[0]].into(),
        burn::tensor::DType::I32,
    )
}
