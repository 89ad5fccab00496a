//! Against a triple loop, and finite differences.

use burn::tensor::Device;

use crate::linear;
use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};

const SHAPE: [usize; 3] = [5, 7, 3]; // R, in, out

#[test]
fn forward_is_a_triple_loop() {
    let [rows, inputs, outputs] = SHAPE;
    let (x, weight) = (values(rows * inputs, 1), values(outputs * inputs, 2));
    let device = Device::flex();
    let y = linear(
        tensor(x.clone(), [1, rows, inputs], &device),
        tensor(weight.clone(), [outputs, inputs], &device),
    );
    assert_eq!(y.dims(), [1, rows, outputs]);
    let expected: Vec<f64> = (0..rows * outputs)
        .map(|at| {
            let (row, out) = (at / outputs, at % outputs);
            (0..inputs).map(|i| x[row * inputs + i] * weight[out * inputs + i]).sum()
        })
        .collect();
    assert_close(&to_vec(y), &expected, F64_ROUNDING);
}

#[test]
fn gradients_are_finite_differences() {
    let [rows, inputs, outputs] = SHAPE;
    check_gradients([values(rows * inputs, 1), values(outputs * inputs, 2)], |[x, weight]| {
        let y = linear(x.reshape([rows, inputs]), weight.reshape([outputs, inputs]));
        y.reshape([rows * outputs])
    });
}
