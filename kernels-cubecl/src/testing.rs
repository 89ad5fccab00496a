//! What the tests of the operations share: seeded values, and gradients by finite differences.
//!
//! Everything runs in f64 on the CPU, where central differences with step 1e-5 are good to about
//! 1e-9 relative: an error in a formula cannot hide behind rounding.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Central differences lose half of f64's digits to the step; wrong formulas miss by far more.
const GRADIENT_TOLERANCE: f64 = 1e-6;

/// Sums of at most some hundred products in f64, in another order: rounding stays below 1e-13.
pub(crate) const F64_ROUNDING: f64 = 1e-12;

/// Deterministic values in (-1, 1) from a linear congruential generator.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A tensor of `values` in f64.
pub(crate) fn tensor<const D: usize>(
    values: Vec<f64>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
}

/// The elements of a tensor, whatever its float dtype.
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// A row of integers.
pub(crate) fn ints(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(values), device)
}

/// Asserts `|a - b| <= tolerance * (1 + |b|)` for every element.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "number of elements");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "element {index}: {found} instead of {expected}"
        );
    }
}

/// Compares the gradients of `op` with central differences of `Σ weight · op(inputs)`, where the
/// weights are random so that no gradient cancels.
#[track_caller]
pub(crate) fn check_gradients<const N: usize>(
    inputs: [Vec<f64>; N],
    op: impl Fn([Tensor<1>; N]) -> Tensor<1>,
) {
    const STEP: f64 = 1e-5;
    let device = Device::flex();
    let flat = |values: &[f64], device: &Device| tensor(values.to_vec(), [values.len()], device);
    let loss = |inputs: &[Vec<f64>; N]| {
        let out = to_vec(op(std::array::from_fn(|i| flat(&inputs[i], &device))));
        let weights = values(out.len(), 99);
        out.iter().zip(weights).map(|(out, weight)| out * weight).sum::<f64>()
    };

    let training = Device::flex().autodiff();
    let leaves: [Tensor<1>; N] =
        std::array::from_fn(|i| flat(&inputs[i], &training).require_grad());
    let out = op(leaves.clone());
    let weights = tensor(values(out.dims()[0], 99), out.dims(), &training);
    let gradients = (out * weights).sum().backward();

    for (which, leaf) in leaves.iter().enumerate() {
        let found = to_vec(leaf.grad(&gradients).expect("every input is reached"));
        let expected: Vec<f64> = (0..found.len())
            .map(|element| {
                let shifted = |step: f64| {
                    let mut inputs = inputs.clone();
                    inputs[which][element] += step;
                    loss(&inputs)
                };
                (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP)
            })
            .collect();
        assert_close(&found, &expected, GRADIENT_TOLERANCE);
    }
}
