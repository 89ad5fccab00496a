//! Softmax cross-entropy, one loss per row.
//!
//! ```text
//! lse = logsumexp(logits)         nll = lse − logits[target]
//! dlogits = dnll · (exp(logits − lse) − onehot(target))
//! ```
//!
//! The loss is left per row: the trainer divides by the number of unmasked tokens of the whole batch,
//! which no single micro-batch knows.

mod autodiff;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use autodiff::cross_entropy as autodiff_cross_entropy;
pub(crate) use reference::{backward, forward};

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::KernelBackend;

/// Target of a row that has no loss and no gradient; the value PyTorch and Hugging Face use.
pub const IGNORE_INDEX: i64 = -100;

/// Negative log-likelihood of each row's target in nats, f32; 0 where it is [`IGNORE_INDEX`].
///
/// # Shapes
/// logits `[R, V]`, targets `[R]` → `[R]`.
///
/// # Panics
/// When the row counts differ. Targets outside `0..V` other than [`IGNORE_INDEX`] are the caller's
/// mistake and give an unspecified loss: token files and tokenizers are checked where they are read.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let ([rows, _], [targets_len]) = (logits.dims(), targets.dims());
    assert_eq!(rows, targets_len, "cross_entropy: {rows} rows of logits, {targets_len} targets");
    let (nll, _lse) = Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(nll)
}

/// Output shapes for lazy backends: nll and lse `[R]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(
    logits: &burn::backend::fusion::custom::TensorSpec,
    _targets: &burn::backend::fusion::custom::TensorSpec,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let rows = burn::backend::fusion::custom::TensorSpec::new(
        [logits.shape[0]].into(),
        crate::precision::statistics_dtype(logits.dtype),
    );
    (rows.clone(), rows)
}
