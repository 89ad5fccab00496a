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

mod of_the_host {
    use burn_flex::{Flex, FlexTensor};

    use super::{EPS, F64_ROUNDING, assert_close};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scattered,
    };
    use crate::rms_norm::{host, reference};

    type Make = fn([usize; 2], u64) -> FlexTensor;
    const SIZES: [[usize; 2]; 5] = [[1, 1], [1, 67], [5, 9], [70, 33], [3, 576]];

    fn weight(make: Make, width: usize) -> FlexTensor {
        make([1, width], 2).reshape([width].into())
    }

    struct Operations {
        forward: fn(FlexTensor, FlexTensor, f64) -> (FlexTensor, FlexTensor),
        add_forward:
            fn(FlexTensor, FlexTensor, FlexTensor, f64) -> (FlexTensor, FlexTensor, FlexTensor),
        backward: fn(FlexTensor, FlexTensor, FlexTensor, FlexTensor) -> (FlexTensor, FlexTensor),
    }

    const HOST: Operations = Operations {
        forward: host::forward,
        add_forward: host::add_forward,
        backward: host::backward,
    };
    const REFERENCE: Operations = Operations {
        forward: reference::forward::<Flex>,
        add_forward: reference::add_forward::<Flex>,
        backward: reference::backward::<Flex>,
    };

    /// Results of the three operations on x, residual and dy.
    fn all(of: Operations, inputs: [FlexTensor; 3], weight: FlexTensor) -> Vec<FlexTensor> {
        let [x, residual, dy] = inputs;
        let (y, rstd) = (of.forward)(x.clone(), weight.clone(), EPS);
        let (y_of_sum, sum, rstd_of_sum) =
            (of.add_forward)(x.clone(), residual, weight.clone(), EPS);
        let (dx, dweight) = (of.backward)(x, weight, rstd.clone(), dy);
        vec![y, rstd, y_of_sum, sum, rstd_of_sum, dx, dweight]
    }

    #[track_caller]
    fn check(make: Make, tolerance: f64, layout: fn(FlexTensor) -> FlexTensor) {
        for size in SIZES {
            let inputs = || [1, 3, 4].map(|seed| layout(make(size, seed)));
            let found = all(HOST, inputs(), weight(make, size[1]));
            let expected = all(REFERENCE, inputs(), weight(make, size[1]));
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(&elements(found), &elements(expected), tolerance);
            }
            let on_old_cpus = portable(|| all(HOST, inputs(), weight(make, size[1])));
            for (found, portable) in found.iter().zip(&on_old_cpus) {
                assert_eq!(elements(found), elements(portable));
            }
        }
    }

    #[test]
    fn it_is_the_reference() {
        check(f64s, F64_ROUNDING, |tensor| tensor);
        check(f64s, F64_ROUNDING, scattered);
        check(f32s, F32_SUMS, |tensor| tensor);
        check(f32s, F32_SUMS, scattered);
    }

    #[test]
    fn no_rows_give_no_rows() {
        let none = || f32s([0, 8], 1);
        let (y, rstd) = host::forward(none(), weight(f32s, 8), EPS);
        assert!(elements(&y).is_empty() && elements(&rstd).is_empty());
        let (dx, dweight) = host::backward(none(), weight(f32s, 8), rstd, none());
        assert!(elements(&dx).is_empty());
        assert_eq!(elements(&dweight), [0.0; 8]);
    }

    /// Large enough for several threads.
    #[test]
    fn threads_change_no_bit() {
        assert_same_bits(|| {
            all(HOST, [1, 3, 4].map(|seed| f32s([333, 257], seed)), weight(f32s, 257))
        });
    }

    #[test]
    fn memory_is_reused_only_if_nobody_else_holds_it() {
        let make = |seed| f64s([5, 9], seed);
        let address = |tensor: &FlexTensor| tensor.bytes().as_ptr();
        let (x, residual, dy) = (make(1), make(3), make(4));
        let held = all(HOST, [x.clone(), residual.clone(), dy.clone()], weight(f64s, 9));
        assert_eq!([&x, &residual, &dy].map(elements), [1, 3, 4].map(|seed| elements(&make(seed))));

        let expected = address(&residual);
        let (_, sum, _) = host::add_forward(x.clone(), residual, weight(f64s, 9), EPS);
        assert_eq!(address(&sum), expected);
        assert_eq!(elements(&sum), elements(&held[3]));
        let expected = address(&dy);
        let (dx, _) = host::backward(x, weight(f64s, 9), held[1].clone(), dy);
        assert_eq!(address(&dx), expected);
        assert_eq!(elements(&dx), elements(&held[5]));
    }
}
