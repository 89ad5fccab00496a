//! Against the formula in scalars, and finite differences.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, ints, tensor, to_vec, values};
use crate::{IGNORE_INDEX, cross_entropy};

const TARGETS: [i64; 4] = [2, IGNORE_INDEX, 0, 6];
const VOCAB: usize = 7;

fn logits(magnitude: f64) -> Vec<f64> {
    values(TARGETS.len() * VOCAB, 1).into_iter().map(|value| magnitude * value).collect()
}

#[track_caller]
fn check_forward(magnitude: f64) {
    let logits = logits(magnitude);
    let device = Device::flex();
    let nll = cross_entropy(
        tensor(logits.clone(), [TARGETS.len(), VOCAB], &device),
        ints(&TARGETS, &device),
    );
    let expected: Vec<f64> = logits
        .chunks(VOCAB)
        .zip(TARGETS)
        .map(|(row, target)| {
            let max = row.iter().copied().fold(f64::MIN, f64::max);
            let lse = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            if target == IGNORE_INDEX { 0.0 } else { lse - row[target as usize] }
        })
        .collect();
    assert_close(&to_vec(nll), &expected, F64_ROUNDING);
}

#[test]
fn forward_is_the_formula() {
    check_forward(3.0);
}

#[test]
fn large_logits_do_not_overflow() {
    check_forward(1e4);
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([logits(3.0)], |[x]| {
        let device = x.device();
        cross_entropy(x.reshape([TARGETS.len(), VOCAB]), ints(&TARGETS, &device))
    });
}

#[test]
fn an_ignored_row_has_no_gradient() {
    let device = Device::flex().autodiff();
    let x = tensor(logits(3.0), [TARGETS.len(), VOCAB], &device).require_grad();
    let gradients = cross_entropy(x.clone(), ints(&TARGETS, &device)).sum().backward();
    let gradient = to_vec(x.grad(&gradients).unwrap());
    assert!(gradient[VOCAB..2 * VOCAB].iter().all(|value| *value == 0.0));
    assert!(gradient[..VOCAB].iter().all(|value| *value != 0.0));
}
