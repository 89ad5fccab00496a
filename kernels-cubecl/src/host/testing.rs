//! What the tests of the kernels share.

use std::cell::Cell;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::TensorData;
use burn_flex::{Flex, FlexTensor};

use crate::testing::values;

/// Sums of some hundred f32 terms near 1, in another order than the reference: errors of 2⁻²⁴ that add up
/// to a few units of 1e-6, with a margin of three.
pub(crate) const F32_SUMS: f64 = 1e-5;

thread_local! {
    static PORTABLE: Cell<bool> = const { Cell::new(false) };
}

/// Whether kernels of this thread run as they do on CPUs without wide instructions.
pub(crate) fn is_portable() -> bool {
    PORTABLE.get()
}

/// `work` without wide instructions; they are found again in a rayon thread.
pub(crate) fn portable<T>(work: impl FnOnce() -> T) -> T {
    PORTABLE.set(true);
    let result = work();
    PORTABLE.set(false);
    result
}

/// Seeded values in (-1, 1) in f64.
pub(crate) fn f64s<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values(shape.iter().product(), seed), shape))
}

/// The values of [`f64s`] in f32.
pub(crate) fn f32s<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
    let values: Vec<f32> =
        values(shape.iter().product(), seed).into_iter().map(|value| value as f32).collect();
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The tensor times a number.
pub(crate) fn scaled(tensor: FlexTensor, factor: f64) -> FlexTensor {
    Flex::float_mul_scalar(tensor, factor.into())
}

/// A tensor of the same shape and values as `tensor` `[rows, columns]` whose rows lie apart, behind an
/// offset.
pub(crate) fn scattered(tensor: FlexTensor) -> FlexTensor {
    let [rows, columns] = tensor.shape().dims();
    let twice = Flex::float_cat(vec![tensor.clone(), tensor], 1); // [rows, 2 · columns]
    let scattered = twice.narrow(1, columns, columns);
    assert!(rows < 2 || !scattered.is_contiguous());
    scattered
}

/// The elements of a tensor in f64.
pub(crate) fn elements(tensor: &FlexTensor) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

/// Runs `work` in pools of 1 and of 3 threads and asserts equal bits.
#[track_caller]
pub(crate) fn assert_same_bits(work: impl Fn() -> Vec<FlexTensor> + Sync) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| work().into_iter().map(|tensor| tensor.into_data()).collect::<Vec<_>>())
    };
    for (index, (one, three)) in on(1).into_iter().zip(on(3)).enumerate() {
        assert!(one.bytes()[..] == three.bytes()[..], "result {index}");
    }
}
