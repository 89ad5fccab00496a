//! The loss of training, fine-tuning and evaluation.

use burn::tensor::{Device, Int, Tensor};
use kernels_cubecl::{CrossEntropyOptions, linear_cross_entropy};
use tinyllama_model::TinyLlama;

use crate::batch::Batch;
use crate::side_by_side::{passes_at_once, side_by_side};

/// Summed negative log-likelihood of the targets that count, in nats: `[1]`.
///
/// # Shapes
/// inputs: `[B, T]`; targets: `[B·T]`, row after row.
pub fn summed_nll(model: &TinyLlama, inputs: Tensor<2, Int>, targets: Tensor<1, Int>) -> Tensor<1> {
    let hidden = model.hidden(inputs, None); // [B, T, D]
    let [b, t, d] = hidden.dims();
    let head = model.head().weight.val(); // [V, D]
    let options = CrossEntropyOptions::default();
    linear_cross_entropy(hidden.reshape([b * t, d]), head, targets, options)
}

/// Mean negative log-likelihood of all targets of `batches`, computed on `device`, in nats; `None`
/// without a target.
pub fn mean_nll(model: &TinyLlama, batches: &[Batch], device: &Device) -> Option<f64> {
    let of_batch = |batch: &Batch| {
        summed_nll(model, batch.inputs(device), batch.targets(device)).into_scalar::<f64>()
    };
    let some = batches.chunks(passes_at_once(device));
    let sum: f64 = some.flat_map(|some| side_by_side(some, of_batch)).sum();
    let num_targets: usize = batches.iter().map(Batch::num_targets).sum();
    (num_targets > 0).then(|| sum / num_targets as f64)
}
