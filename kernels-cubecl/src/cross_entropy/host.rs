//! Cross-entropy in plain Rust: a row of logits stays in the second cache while its maximum, then its sum
//! of exponentials is taken. Sums are kept in f64.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::{CrossEntropyOptions, IGNORE_INDEX, reference};
use crate::host::{
    Scalar, contiguous, for_each_share, ids, into_tensor, largest, overwritable, owned,
    rows_per_share, shared_dtype, sum, sum_of_exp, unwritten, vectorised,
};

/// One exponential takes as long as the passing of so many elements.
const EXPONENTIAL: usize = 4;

/// logits `[R, V]`, targets `[R]` → (loss `[R]`, lse `[R]`).
pub(crate) fn forward(
    logits: FlexTensor,
    targets: FlexTensor,
    options: CrossEntropyOptions,
) -> (FlexTensor, FlexTensor) {
    match shared_dtype([&logits]) {
        Some(DType::F32) => losses::<f32>(logits, targets, options),
        Some(DType::F64) => losses::<f64>(logits, targets, options),
        _ => reference::forward::<Flex>(logits, targets, options),
    }
}

/// → dlogits `[R, V]`, over the logits when nobody else holds them.
pub(crate) fn backward(
    logits: FlexTensor,
    targets: FlexTensor,
    lse: FlexTensor,
    dloss: FlexTensor,
    options: CrossEntropyOptions,
) -> FlexTensor {
    match shared_dtype([&logits, &lse, &dloss]) {
        Some(DType::F32) => gradient::<f32>(logits, targets, lse, dloss, options),
        Some(DType::F64) => gradient::<f64>(logits, targets, lse, dloss, options),
        _ => reference::backward::<Flex>(logits, targets, lse, dloss, options),
    }
}

fn losses<E: Scalar>(
    logits: FlexTensor,
    targets: FlexTensor,
    options: CrossEntropyOptions,
) -> (FlexTensor, FlexTensor) {
    let [rows, vocab_size] = logits.shape().dims();
    let (logits, targets) = (contiguous(logits), ids(targets));
    let (mut loss, mut lse) = (unwritten::<E>(rows), unwritten::<E>(rows));
    let per_share = rows_per_share(rows, EXPONENTIAL * rows * vocab_size);
    let inputs = logits.elements::<E>().chunks(per_share * vocab_size);
    let results = loss.chunks_mut(per_share).zip(lse.chunks_mut(per_share));
    let shares = inputs.zip(targets.chunks(per_share)).zip(results);
    for_each_share(shares, |((logits, targets), (loss, lse))| {
        vectorised(
            #[inline(always)]
            || {
                let rows = logits.chunks_exact(vocab_size).zip(targets);
                for ((logits, &target), (loss, lse)) in rows.zip(loss.iter_mut().zip(lse)) {
                    let of_row = logsumexp(logits);
                    lse.write(E::narrow(of_row));
                    loss.write(E::narrow(match target {
                        IGNORE_INDEX => 0.0,
                        target => loss_of(logits, target as usize, of_row, options),
                    }));
                }
            },
        );
    });
    // SAFETY: the shares cover all rows, of which each has written its loss and lse.
    unsafe { (into_tensor(loss, [rows]), into_tensor(lse, [rows])) }
}

#[inline(always)]
fn logsumexp<E: Scalar>(logits: &[E]) -> f64 {
    let max = largest(logits);
    max.widen() + sum_of_exp(logits, max).ln()
}

#[inline(always)]
fn loss_of<E: Scalar>(
    logits: &[E],
    target: usize,
    lse: f64,
    CrossEntropyOptions { z_loss, label_smoothing }: CrossEntropyOptions,
) -> f64 {
    let mut of_target = logits[target].widen();
    if label_smoothing != 0.0 {
        let mean = sum(logits) / logits.len() as f64;
        of_target = (1.0 - label_smoothing) * of_target + label_smoothing * mean;
    }
    lse - of_target + z_loss * lse * lse
}

fn gradient<E: Scalar>(
    logits: FlexTensor,
    targets: FlexTensor,
    lse: FlexTensor,
    dloss: FlexTensor,
    options: CrossEntropyOptions,
) -> FlexTensor {
    let [rows, vocab_size] = logits.shape().dims();
    let (lse, dloss, targets) = (contiguous(lse), contiguous(dloss), ids(targets));
    let mut logits = owned::<E>(logits);
    let results = overwritable::<E>(&mut logits).expect("owned");
    let per_share = rows_per_share(rows, EXPONENTIAL * rows * vocab_size);
    let statistics = lse.elements::<E>().chunks(per_share).zip(dloss.elements().chunks(per_share));
    let inputs = statistics.zip(targets.chunks(per_share));
    let shares = results.chunks_mut(per_share * vocab_size).zip(inputs);
    for_each_share(shares, |(logits, ((lse, dloss), targets))| {
        vectorised(
            #[inline(always)]
            || {
                let inputs = lse.iter().zip(dloss).zip(targets);
                for (row, ((&lse, &dloss), &target)) in
                    logits.chunks_exact_mut(vocab_size).zip(inputs)
                {
                    match target {
                        IGNORE_INDEX => row.fill(E::ZERO),
                        target => backward_row(row, target as usize, lse, dloss, options),
                    }
                }
            },
        );
    });
    logits
}

/// The logits of one row become their gradient.
#[inline(always)]
fn backward_row<E: Scalar>(
    logits: &mut [E],
    target: usize,
    lse: E,
    dloss: E,
    CrossEntropyOptions { z_loss, label_smoothing }: CrossEntropyOptions,
) {
    let slope = dloss * (E::ONE + E::narrow(2.0 * z_loss) * lse);
    let share = dloss * E::narrow(label_smoothing / logits.len() as f64);
    for logit in logits.iter_mut() {
        *logit = (*logit - lse).exponential() * slope - share;
    }
    logits[target] = logits[target] - dloss * E::narrow(1.0 - label_smoothing);
}
