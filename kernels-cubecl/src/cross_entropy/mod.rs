//! Softmax cross-entropy, one loss per row.
//!
//! ```text
//! lse  = logsumexp(logits)
//! loss = lse − (1 − s) · logits[target] − s · mean(logits) + z · lse²
//! dlogits = dloss · ((1 + 2z · lse) · exp(logits − lse) − (1 − s) · onehot(target) − s / V)
//! ```
//!
//! s is label smoothing (Szegedy et al. 2016, arXiv 1512.00567), z the weight of the z-loss, which keeps
//! the normaliser near 1 (Chowdhery et al. 2022, arXiv 2204.02311, section 5). Both are 0 by default,
//! which leaves the negative log-likelihood.
//!
//! The loss is left per row: the trainer divides by the number of unmasked tokens of the whole batch,
//! which no single micro-batch knows.

pub(crate) mod autodiff;
#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::KernelBackend;

/// Target of a row that has no loss and no gradient; the value PyTorch and Hugging Face use.
pub const IGNORE_INDEX: i64 = -100;

/// What is added to the negative log-likelihood; see the equations of [`cross_entropy`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyOptions {
    /// z, the weight of `lse²`.
    pub z_loss: f64,
    /// s in [0, 1), the share of the target that is spread over all V classes.
    pub label_smoothing: f64,
}

/// Loss of each row in nats, f32; 0 where its target is [`IGNORE_INDEX`].
///
/// # Shapes
/// logits `[R, V]`, targets `[R]` → `[R]`.
///
/// # Panics
/// When the row counts differ. Targets outside `0..V` other than [`IGNORE_INDEX`] are the caller's
/// mistake and give an unspecified loss: token files and tokenizers are checked where they are read.
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let ([rows, _], [targets_len]) = (logits.dims(), targets.dims());
    assert_eq!(rows, targets_len, "cross_entropy: {rows} rows of logits, {targets_len} targets");
    let (loss, _lse) =
        Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch(), options);
    Tensor::from_dispatch(loss)
}

/// Output shapes for lazy backends: loss and lse `[R]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(
    logits: &burn::backend::fusion::custom::TensorSpec,
    _targets: &burn::backend::fusion::custom::TensorSpec,
    _options: &CrossEntropyOptions,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let rows = burn::backend::fusion::custom::TensorSpec::new(
        [logits.shape[0]].into(),
        crate::precision::statistics_dtype(logits.dtype),
    );
    (rows.clone(), rows)
}
