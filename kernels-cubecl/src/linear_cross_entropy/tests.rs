//! Against the two operations it joins.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, ints, tensor, to_vec, values};
use crate::{CrossEntropyOptions, IGNORE_INDEX, cross_entropy, linear, linear_cross_entropy};

const WIDTH: usize = 3;
const OPTIONS: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.1, label_smoothing: 0.2 };

/// Two whole chunks and a bit of rows: V · 8 bytes per row against 128 MiB per chunk.
#[test]
fn chunks_add_up() {
    const VOCAB: usize = 300_000;
    const ROWS: usize = 2 * ((128 << 20) / (VOCAB * 8)) + 1;
    let device = Device::flex().autodiff();
    let x = || tensor(values(ROWS * WIDTH, 1), [ROWS, WIDTH], &device).require_grad();
    let weight = || tensor(values(VOCAB * WIDTH, 2), [VOCAB, WIDTH], &device).require_grad();
    let mut targets: Vec<i64> = (0..ROWS as i64).map(|row| row * 2_001).collect();
    targets[7] = IGNORE_INDEX;

    let (found_x, found_weight) = (x(), weight());
    let targets = ints(&targets, &device);
    let found =
        linear_cross_entropy(found_x.clone(), found_weight.clone(), targets.clone(), OPTIONS);
    let (expected_x, expected_weight) = (x(), weight());
    let logits = linear(expected_x.clone(), expected_weight.clone());
    let expected = cross_entropy(logits, targets, OPTIONS).sum();
    assert_close(&to_vec(found.clone()), &to_vec(expected.clone()), F64_ROUNDING);

    let (found, expected) = (found.mul_scalar(3.0).backward(), expected.mul_scalar(3.0).backward());
    for (a, b) in [
        (found_x.grad(&found), expected_x.grad(&expected)),
        (found_weight.grad(&found), expected_weight.grad(&expected)),
    ] {
        assert_close(&to_vec(a.unwrap()), &to_vec(b.unwrap()), F64_ROUNDING);
    }
}

#[test]
fn gradients_are_finite_differences() {
    const VOCAB: usize = 5;
    let targets = [4, IGNORE_INDEX, 0, 2];
    check_gradients([values(4 * WIDTH, 1), values(VOCAB * WIDTH, 2)], |[x, weight]| {
        let targets = ints(&targets, &x.device());
        let (x, weight) = (x.reshape([4, WIDTH]), weight.reshape([VOCAB, WIDTH]));
        linear_cross_entropy(x, weight, targets, OPTIONS)
    });
}
