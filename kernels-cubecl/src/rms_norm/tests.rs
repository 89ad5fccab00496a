//! Against the formula in scalars, and finite differences.

use burn::tensor::{DType, Device, FloatDType};

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};
use crate::{add_rms_norm, rms_norm};

const ROWS: usize = 4;
const WIDTH: usize = 9; // No multiple of any vector width.
const EPS: f64 = 0.25; // Large, so that a wrong place of eps shows.

fn scalar(x: &[f64], weight: &[f64]) -> Vec<f64> {
    x.chunks(WIDTH)
        .flat_map(|row| {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / WIDTH as f64;
            let rstd = 1.0 / (mean_square + EPS).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x * rstd * w).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn forward_is_the_formula() {
    let (x, weight) = (values(ROWS * WIDTH, 1), values(WIDTH, 2));
    let device = Device::flex();
    let y = rms_norm(
        tensor(x.clone(), [ROWS, WIDTH], &device),
        tensor(weight.clone(), [WIDTH], &device),
        EPS,
    );
    assert_close(&to_vec(y), &scalar(&x, &weight), F64_ROUNDING);
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([values(ROWS * WIDTH, 1), values(WIDTH, 2)], |[x, weight]| {
        rms_norm(x.reshape([ROWS, WIDTH]), weight, EPS).reshape([ROWS * WIDTH])
    });
}

/// Both results count: the sum's gradient has two sources.
#[test]
fn gradients_of_the_sum_are_finite_differences() {
    let inputs = [values(ROWS * WIDTH, 1), values(ROWS * WIDTH, 3), values(WIDTH, 2)];
    check_gradients(inputs, |[x, residual, weight]| {
        let (x, residual) = (x.reshape([ROWS, WIDTH]), residual.reshape([ROWS, WIDTH]));
        let (y, sum) = add_rms_norm(x, residual, weight, EPS);
        (y.clone() * sum.clone() + sum).reshape([ROWS * WIDTH])
    });
}

#[test]
fn the_sum_is_normalised() {
    let (x, residual, weight) =
        (values(ROWS * WIDTH, 1), values(ROWS * WIDTH, 3), values(WIDTH, 2));
    let device = Device::flex();
    let rows = |values: &[f64]| tensor(values.to_vec(), [ROWS, WIDTH], &device);
    let (y, sum) =
        add_rms_norm(rows(&x), rows(&residual), tensor(weight.clone(), [WIDTH], &device), EPS);
    let expected: Vec<f64> = x.iter().zip(&residual).map(|(x, residual)| x + residual).collect();
    assert_eq!(to_vec(sum), expected);
    assert_close(&to_vec(y), &scalar(&expected, &weight), F64_ROUNDING);
}

/// bf16 input: the statistic is kept in f32, so the error is that of rounding the result once.
#[test]
fn low_precision_input_keeps_its_dtype_and_f32_statistics() {
    const BF16_ROUNDING: f64 = 1.0 / 256.0; // Half a unit in the last of 8 significant bits.
    let device = Device::flex();
    let x = tensor(values(ROWS * WIDTH, 1), [ROWS, WIDTH], &device).cast(FloatDType::BF16);
    let weight = tensor(values(WIDTH, 2), [WIDTH], &device).cast(FloatDType::BF16);
    let expected = scalar(&to_vec(x.clone()), &to_vec(weight.clone()));
    let y = rms_norm(x, weight, EPS);
    assert_eq!(y.dtype(), DType::BF16);
    assert_close(&to_vec(y), &expected, BF16_ROUNDING);
}
