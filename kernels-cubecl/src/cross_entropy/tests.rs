//! Against the formula in scalars, and finite differences.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, ints, tensor, to_vec, values};
use crate::{CrossEntropyOptions, IGNORE_INDEX, cross_entropy};

const TARGETS: [i64; 4] = [2, IGNORE_INDEX, 0, 6];
const VOCAB: usize = 7;
const PLAIN: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.0, label_smoothing: 0.0 };
const BOTH: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.3, label_smoothing: 0.2 };

fn logits(magnitude: f64) -> Vec<f64> {
    values(TARGETS.len() * VOCAB, 1).into_iter().map(|value| magnitude * value).collect()
}

#[track_caller]
fn check_forward(magnitude: f64, options: CrossEntropyOptions) {
    let logits = logits(magnitude);
    let device = Device::flex();
    let nll = cross_entropy(
        tensor(logits.clone(), [TARGETS.len(), VOCAB], &device),
        ints(&TARGETS, &device),
        options,
    );
    let expected: Vec<f64> = logits
        .chunks(VOCAB)
        .zip(TARGETS)
        .map(|(row, target)| {
            let max = row.iter().copied().fold(f64::MIN, f64::max);
            let lse = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            let mean = row.iter().sum::<f64>() / VOCAB as f64;
            let CrossEntropyOptions { z_loss: z, label_smoothing: s } = options;
            let of = |target: usize| lse - (1.0 - s) * row[target] - s * mean + z * lse * lse;
            if target == IGNORE_INDEX { 0.0 } else { of(target as usize) }
        })
        .collect();
    assert_close(&to_vec(nll), &expected, F64_ROUNDING);
}

#[test]
fn forward_is_the_formula() {
    check_forward(3.0, PLAIN);
    check_forward(3.0, BOTH);
}

#[test]
fn large_logits_do_not_overflow() {
    check_forward(1e4, PLAIN);
}

#[test]
fn gradients_are_finite_differences() {
    for options in [PLAIN, BOTH] {
        check_gradients([logits(3.0)], |[x]| {
            let device = x.device();
            cross_entropy(x.reshape([TARGETS.len(), VOCAB]), ints(&TARGETS, &device), options)
        });
    }
}

#[test]
fn an_ignored_row_has_no_gradient() {
    let device = Device::flex().autodiff();
    let x = tensor(logits(3.0), [TARGETS.len(), VOCAB], &device).require_grad();
    let gradients = cross_entropy(x.clone(), ints(&TARGETS, &device), PLAIN).sum().backward();
    let gradient = to_vec(x.grad(&gradients).unwrap());
    assert!(gradient[VOCAB..2 * VOCAB].iter().all(|value| *value == 0.0));
    assert!(gradient[..VOCAB].iter().all(|value| *value != 0.0));
}
