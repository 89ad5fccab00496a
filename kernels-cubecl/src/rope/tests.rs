//! Against complex multiplication in scalars, finite differences, and the property that matters.

use burn::tensor::{Device, Int, Tensor};

use crate::rope;
use crate::testing::{F64_ROUNDING, assert_close, check_gradients, ints, tensor, to_vec, values};

const BATCH: usize = 2;
const LENGTH: usize = 3;
const HEADS: usize = 3;
const ROTATED: usize = 2;
const HALF: usize = 3; // H = 6
const POSITIONS: usize = 8;
const SHAPE: [usize; 4] = [BATCH, LENGTH, HEADS, 2 * HALF];
const COUNT: usize = BATCH * LENGTH * HEADS * 2 * HALF;

fn angles() -> Vec<f64> {
    values(POSITIONS * HALF, 5).into_iter().map(|value| 3.0 * value).collect()
}

fn rotate(x: Tensor<4>, offsets: Tensor<1, Int>) -> Tensor<4> {
    let table = |of: fn(f64) -> f64| {
        tensor(angles().into_iter().map(of).collect(), [POSITIONS, HALF], &x.device())
    };
    rope(x.clone(), table(f64::cos), table(f64::sin), offsets, ROTATED)
}

fn scalar(x: &[f64], offsets: &[i64]) -> Vec<f64> {
    let (mut y, angles) = (x.to_vec(), angles());
    for batch in 0..BATCH {
        for t in 0..LENGTH {
            for head in 0..ROTATED {
                for pair in 0..HALF {
                    let position = offsets[batch % offsets.len()] as usize + t;
                    let (sin, cos) = angles[position * HALF + pair].sin_cos();
                    let at = ((batch * LENGTH + t) * HEADS + head) * 2 * HALF + pair;
                    y[at] = x[at] * cos - x[at + HALF] * sin;
                    y[at + HALF] = x[at] * sin + x[at + HALF] * cos;
                }
            }
        }
    }
    y
}

#[track_caller]
fn check_forward(offsets: &[i64]) {
    let (x, device) = (values(COUNT, 1), Device::flex());
    let y = rotate(tensor(x.clone(), SHAPE, &device), ints(offsets, &device));
    assert_close(&to_vec(y), &scalar(&x, offsets), F64_ROUNDING);
}

#[test]
fn one_offset_for_all_sequences() {
    check_forward(&[0]);
    check_forward(&[4]);
}

#[test]
fn an_offset_per_sequence() {
    check_forward(&[5, 1]);
}

/// The caller's tensor is not rotated under its hands.
#[test]
fn a_tensor_held_elsewhere_keeps_its_values() {
    let (x, device) = (values(COUNT, 1), Device::flex());
    let held = tensor(x.clone(), SHAPE, &device);
    rotate(held.clone(), ints(&[1], &device));
    assert_eq!(to_vec(held), x);
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
                tensor(angles.iter().map(|angle| of(*angle)).collect(), [1, HALF], &device)
            };
            let x = tensor(values(2 * HALF, seed), [1, 1, 1, 2 * HALF], &device);
            to_vec(rope(x, table(f64::cos), table(f64::sin), ints(&[0], &device), 1))
        };
        rotated(1, position).iter().zip(rotated(2, of_key)).map(|(q, k)| q * k).sum()
    };
    assert_close(&[score(107.0, 104.0)], &[score(5.0, 2.0)], F64_ROUNDING);
    assert!((score(5.0, 2.0) - score(5.0, 3.0)).abs() > 0.01, "another distance, another score");
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([values(COUNT, 1)], |[x]| {
        let offsets = ints(&[2, 0], &x.device());
        rotate(x.reshape(SHAPE), offsets).reshape([COUNT])
    });
}

mod of_the_host {
    use burn::backend::TensorMetadata;
    use burn::tensor::TensorData;
    use burn_flex::{Flex, FlexTensor};

    use super::{F64_ROUNDING, assert_close};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scattered,
    };
    use crate::rope::{host, reference};

    const ROTATED: usize = 3;

    struct Case {
        x: FlexTensor,
        tables: [FlexTensor; 2],
        offsets: FlexTensor,
        inverse: bool,
    }

    impl Case {
        fn host(&self) -> FlexTensor {
            let Self { x, tables: [cos, sin], offsets, inverse } = self;
            let (cos, sin, offsets) = (cos.clone(), sin.clone(), offsets.clone());
            host::forward(x.clone(), cos, sin, offsets, ROTATED, *inverse)
        }

        fn reference(&self) -> FlexTensor {
            let Self { x, tables: [cos, sin], offsets, inverse } = self;
            let (cos, sin, offsets) = (cos.clone(), sin.clone(), offsets.clone());
            reference::forward::<Flex>(x.clone(), cos, sin, offsets, ROTATED, *inverse)
        }
    }

    fn offsets(values: &[i32]) -> FlexTensor {
        FlexTensor::from_data(TensorData::from(values))
    }

    #[track_caller]
    fn check(make: fn([usize; 2], u64) -> FlexTensor, tolerance: f64) {
        for (shape, of) in [
            ([2, 5, 4, 6], &[3, 0][..]),
            ([2, 3, 3, 34], &[1]),
            ([1, 1, 5, 64], &[7]),
            ([0, 2, 4, 6], &[0]),
        ] {
            let [batch, length, heads, head_dim] = shape;
            let flat = make([batch * length, heads * head_dim], 1);
            let tables = [2, 3].map(|seed| make([12, head_dim / 2], seed));
            for x in [flat.clone(), scattered(flat)] {
                for inverse in [false, true] {
                    let x = x.reshape(shape.into());
                    let tables = tables.clone();
                    let case = Case { x, tables, offsets: offsets(of), inverse };
                    let found = elements(&case.host());
                    assert_eq!(found, elements(&portable(|| case.host())));
                    if batch > 0 {
                        assert_close(&found, &elements(&case.reference()), tolerance);
                    }
                }
            }
        }
    }

    #[test]
    fn it_is_the_reference() {
        check(f64s, F64_ROUNDING);
        check(f32s, F32_SUMS);
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, tables) = (f32s([2, 200, 8, 64], 1), [2, 3].map(|seed| f32s([201, 32], seed)));
        let case = Case { x, tables, offsets: offsets(&[0, 1]), inverse: false };
        assert_same_bits(|| vec![case.host()]);
    }

    #[test]
    fn memory_is_reused_only_if_nobody_else_holds_it() {
        let x = f64s([1, 3, 4, 6], 1);
        let tables = || [2, 3].map(|seed| f64s([3, 3], seed));
        let case = Case { x: x.clone(), tables: tables(), offsets: offsets(&[0]), inverse: false };
        let expected = case.host();
        assert_eq!(elements(&x), elements(&f64s([1, 3, 4, 6], 1)));
        drop(case);
        let (address, [cos, sin]) = (x.bytes().as_ptr(), tables());
        let found = host::forward(x, cos, sin, offsets(&[0]), ROTATED, false);
        assert_eq!(found.bytes().as_ptr(), address);
        assert_eq!(elements(&found), elements(&expected));

        // Part of a buffer that nobody else holds: it stays where it is.
        let x = f64s([2, 3, 4, 6], 1).narrow(0, 1, 1);
        let (address, [cos, sin]) = (x.bytes().as_ptr(), tables());
        let part = elements(&x);
        let found = host::forward(x, cos, sin, offsets(&[0]), ROTATED, false);
        assert_eq!((found.bytes().as_ptr(), found.shape().dims()), (address, [1, 3, 4, 6]));
        let [cos, sin] = tables();
        let alone = FlexTensor::from_data(TensorData::new(part, [1, 3, 4, 6]));
        let expected = host::forward(alone, cos, sin, offsets(&[0]), ROTATED, false);
        assert_eq!(elements(&found), elements(&expected));
    }
}
