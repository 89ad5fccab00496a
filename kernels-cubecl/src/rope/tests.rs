//! Against complex multiplication in scalars, finite differences, and the property that matters.

use burn::tensor::Device;

use crate::rope;
use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};

const BATCH: usize = 2;
const LENGTH: usize = 3;
const HEADS: usize = 2;
const HALF: usize = 3; // H = 6
const SHAPE: [usize; 4] = [BATCH, LENGTH, HEADS, 2 * HALF];
const COUNT: usize = BATCH * LENGTH * HEADS * 2 * HALF;

/// Angles of `tables` sequences: P = 1 or B.
fn angles(tables: usize) -> Vec<f64> {
    values(tables * LENGTH * HALF, 5).into_iter().map(|value| 3.0 * value).collect()
}

fn scalar(x: &[f64], angles: &[f64], tables: usize) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for batch in 0..BATCH {
        for position in 0..LENGTH {
            for head in 0..HEADS {
                for pair in 0..HALF {
                    let table = if tables == 1 { 0 } else { batch };
                    let (sin, cos) = angles[(table * LENGTH + position) * HALF + pair].sin_cos();
                    let at = ((batch * LENGTH + position) * HEADS + head) * 2 * HALF + pair;
                    y[at] = x[at] * cos - x[at + HALF] * sin;
                    y[at + HALF] = x[at] * sin + x[at + HALF] * cos;
                }
            }
        }
    }
    y
}

#[track_caller]
fn check_forward(tables: usize) {
    let (x, angles) = (values(COUNT, 1), angles(tables));
    let device = Device::flex();
    let table = |of: fn(f64) -> f64| {
        let values = angles.iter().map(|angle| of(*angle)).collect();
        tensor(values, [tables, LENGTH, HALF], &device)
    };
    let y = rope(tensor(x.clone(), SHAPE, &device), table(f64::cos), table(f64::sin));
    assert_close(&to_vec(y), &scalar(&x, &angles, tables), F64_ROUNDING);
}

#[test]
fn one_table_for_all_sequences() {
    check_forward(1);
}

#[test]
fn a_table_per_sequence() {
    check_forward(BATCH);
}

/// What RoPE is for: a rotated query times a rotated key knows the distance of their positions alone.
#[test]
fn scores_depend_on_the_distance() {
    let device = Device::flex();
    let frequencies = values(HALF, 5);
    let score = |position: f64, of_key: f64| -> f64 {
        let rotated = |seed: u64, position: f64| {
            let angles: Vec<f64> = frequencies.iter().map(|f| f * position).collect();
            let table = |of: fn(f64) -> f64| {
                tensor(angles.iter().map(|angle| of(*angle)).collect(), [1, 1, HALF], &device)
            };
            let x = tensor(values(2 * HALF, seed), [1, 1, 1, 2 * HALF], &device);
            to_vec(rope(x, table(f64::cos), table(f64::sin)))
        };
        rotated(1, position).iter().zip(rotated(2, of_key)).map(|(q, k)| q * k).sum()
    };
    assert_close(&[score(107.0, 104.0)], &[score(5.0, 2.0)], F64_ROUNDING);
    assert!((score(5.0, 2.0) - score(5.0, 3.0)).abs() > 0.01, "another distance, another score");
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([values(COUNT, 1)], |[x]| {
        let device = x.device();
        let table = |of: fn(f64) -> f64| {
            let values = angles(1).iter().map(|angle| of(*angle)).collect();
            tensor(values, [1, LENGTH, HALF], &device)
        };
        rope(x.reshape(SHAPE), table(f64::cos), table(f64::sin)).reshape([COUNT])
    });
}
