//! Small distributions by hand, and frequencies.

use burn::tensor::{Device, Tensor, TensorData};

use crate::{SamplingOptions, sample};

const PLAIN: SamplingOptions = SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0 };

/// The ids drawn of one row at some random numbers.
fn drawn(logits: &[f32], uniform: &[f32], options: SamplingOptions) -> Vec<i64> {
    let device = Device::flex();
    let rows = logits.repeat(uniform.len());
    let logits = TensorData::new(rows, [uniform.len(), logits.len()]);
    let uniform = Tensor::from_data(TensorData::from(uniform), &device);
    let ids = sample(Tensor::from_data(logits, &device), uniform, options);
    ids.into_data().iter::<i64>().collect()
}

/// Probabilities 0.1, 0.4, 0.2, 0.3.
fn logits() -> Vec<f32> {
    [0.1_f32, 0.4, 0.2, 0.3].iter().map(|p| p.ln() + 7.0).collect()
}

#[test]
fn temperature_zero_takes_the_first_of_the_largest() {
    let greedy = SamplingOptions { temperature: 0.0, ..PLAIN };
    assert_eq!(drawn(&[1.0, 3.0, 3.0, -2.0], &[0.0, 0.99], greedy), [1, 1]);
}

#[test]
fn ids_come_in_order_of_the_sum() {
    let uniform = [0.05, 0.15, 0.45, 0.55, 0.65, 0.75, 0.99];
    assert_eq!(drawn(&logits(), &uniform, PLAIN), [0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn top_k_keeps_the_largest() {
    let two = SamplingOptions { top_k: 2, ..PLAIN };
    // Of 0.4 and 0.3, the first has 4/7 = 0.571.
    assert_eq!(drawn(&logits(), &[0.0, 0.57, 0.58, 0.99], two), [1, 1, 3, 3]);
    let all = SamplingOptions { top_k: 9, ..PLAIN };
    assert_eq!(drawn(&logits(), &[0.05, 0.99], all), [0, 3]);
}

#[test]
fn equal_logits_at_the_boundary_all_stay() {
    let two = SamplingOptions { top_k: 2, ..PLAIN };
    assert_eq!(drawn(&[1.0, 2.0, 1.0, 1.0], &[0.999], two), [3]);
}

#[test]
fn top_p_keeps_the_fewest_that_reach_it() {
    let p = |top_p| SamplingOptions { top_p, ..PLAIN };
    assert_eq!(drawn(&logits(), &[0.0, 0.99], p(0.3)), [1, 1]);
    // The one that reaches p is among them, just so.
    assert_eq!(drawn(&logits(), &[0.99, 0.99], p(0.3999)), [1, 1]);
    assert_eq!(drawn(&logits(), &[0.99, 0.99], p(0.4001)), [3, 3]);
    assert_eq!(drawn(&logits(), &[0.57, 0.58], p(0.6)), [1, 3]);
    // Of the two that top_k keeps, 0.571 and 0.429, the first alone reaches a half.
    let both = SamplingOptions { top_k: 2, top_p: 0.5, ..PLAIN };
    assert_eq!(drawn(&logits(), &[0.0, 0.99], both), [1, 1]);
}

#[test]
fn temperature_sharpens() {
    let cold = SamplingOptions { temperature: 0.5, ..PLAIN };
    // Squares 0.01, 0.16, 0.04, 0.09 of 0.30: sums 0.033, 0.567, 0.7, 1.
    assert_eq!(drawn(&logits(), &[0.03, 0.04, 0.56, 0.57, 0.69, 0.71], cold), [0, 1, 1, 2, 2, 3]);
}
