//! Against the formula in scalars, and finite differences.

use burn::tensor::Device;

use crate::swiglu;
use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};

const ROWS: usize = 3;
const WIDTH: usize = 5; // F

/// Values in (-4, 4): both tails of the sigmoid.
fn gate_up() -> Vec<f64> {
    values(ROWS * 2 * WIDTH, 1).into_iter().map(|value| 4.0 * value).collect()
}

#[test]
fn forward_is_the_formula() {
    let input = gate_up();
    let y = swiglu(tensor(input.clone(), [ROWS, 2 * WIDTH], &Device::flex()));
    let expected: Vec<f64> = input
        .chunks(2 * WIDTH)
        .flat_map(|row| {
            let (gate, up) = row.split_at(WIDTH);
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect::<Vec<_>>()
        })
        .collect();
    assert_close(&to_vec(y), &expected, F64_ROUNDING);
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([gate_up()], |[x]| {
        swiglu(x.reshape([ROWS, 2 * WIDTH])).reshape([ROWS * WIDTH])
    });
}
