//! Against the formula in scalars, and finite differences.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, ints, tensor, to_vec, values};
use crate::{CrossEntropyOptions, IGNORE_INDEX, cross_entropy};

const TARGETS: [i64; 4] = [2, IGNORE_INDEX, 0, 6];
const VOCAB: usize = 7;
const PLAIN: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.0, label_smoothing: 0.0 };
const BOTH: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.3, label_smoothing: 0.2 };

fn logits(magnitude: f64) -> Vec<f64> {
    values(TARGETS.len() * VOCAB, 1).into_iter().map(|value| magnitude * value).collect()
}

#[track_caller]
fn check_forward(magnitude: f64, options: CrossEntropyOptions) {
    let logits = logits(magnitude);
    let device = Device::flex();
    let nll = cross_entropy(
        tensor(logits.clone(), [TARGETS.len(), VOCAB], &device),
        ints(&TARGETS, &device),
        options,
    );
    let expected: Vec<f64> = logits
        .chunks(VOCAB)
        .zip(TARGETS)
        .map(|(row, target)| {
            let max = row.iter().copied().fold(f64::MIN, f64::max);
            let lse = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            let mean = row.iter().sum::<f64>() / VOCAB as f64;
            let CrossEntropyOptions { z_loss: z, label_smoothing: s } = options;
            let of = |target: usize| lse - (1.0 - s) * row[target] - s * mean + z * lse * lse;
            if target == IGNORE_INDEX { 0.0 } else { of(target as usize) }
        })
        .collect();
    assert_close(&to_vec(nll), &expected, F64_ROUNDING);
}

#[test]
fn forward_is_the_formula() {
    check_forward(3.0, PLAIN);
    check_forward(3.0, BOTH);
}

#[test]
fn large_logits_do_not_overflow() {
    check_forward(1e4, PLAIN);
}

#[test]
fn gradients_are_finite_differences() {
    for options in [PLAIN, BOTH] {
        check_gradients([logits(3.0)], |[x]| {
            let device = x.device();
            cross_entropy(x.reshape([TARGETS.len(), VOCAB]), ints(&TARGETS, &device), options)
        });
    }
}

#[test]
fn an_ignored_row_has_no_gradient() {
    let device = Device::flex().autodiff();
    let x = tensor(logits(3.0), [TARGETS.len(), VOCAB], &device).require_grad();
    let gradients = cross_entropy(x.clone(), ints(&TARGETS, &device), PLAIN).sum().backward();
    let gradient = to_vec(x.grad(&gradients).unwrap());
    assert!(gradient[VOCAB..2 * VOCAB].iter().all(|value| *value == 0.0));
    assert!(gradient[..VOCAB].iter().all(|value| *value != 0.0));
}

mod of_the_host {
    use burn::tensor::TensorData;
    use burn_flex::{Flex, FlexTensor};

    use super::{BOTH, F64_ROUNDING, IGNORE_INDEX, PLAIN, assert_close};
    use crate::CrossEntropyOptions;
    use crate::cross_entropy::{host, reference};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scaled, scattered,
    };

    type Make = fn([usize; 2], u64) -> FlexTensor;

    /// One target of each row, the third ignored.
    fn targets(rows: usize, vocab_size: usize) -> FlexTensor {
        let ids: Vec<i32> = (0..rows)
            .map(|row| if row == 2 { IGNORE_INDEX as i32 } else { (row * 7 % vocab_size) as i32 })
            .collect();
        FlexTensor::from_data(TensorData::new(ids, [rows]))
    }

    fn dloss(make: Make, rows: usize) -> FlexTensor {
        make([1, rows], 2).reshape([rows].into())
    }

    fn all(
        logits: FlexTensor,
        targets: FlexTensor,
        dloss: FlexTensor,
        options: CrossEntropyOptions,
    ) -> [FlexTensor; 3] {
        let (loss, lse) = host::forward(logits.clone(), targets.clone(), options);
        let dlogits = host::backward(logits, targets, lse.clone(), dloss, options);
        [loss, lse, dlogits]
    }

    fn expected(
        logits: FlexTensor,
        targets: FlexTensor,
        dloss: FlexTensor,
        options: CrossEntropyOptions,
    ) -> [FlexTensor; 3] {
        let (loss, lse) = reference::forward::<Flex>(logits.clone(), targets.clone(), options);
        let dlogits = reference::backward::<Flex>(logits, targets, lse.clone(), dloss, options);
        [loss, lse, dlogits]
    }

    #[track_caller]
    fn check(make: Make, tolerance: f64, layout: fn(FlexTensor) -> FlexTensor) {
        for [rows, vocab_size] in [[1, 1], [1, 67], [5, 9], [70, 33], [3, 1024]] {
            for options in [PLAIN, BOTH] {
                let logits = || layout(scaled(make([rows, vocab_size], 1), 3.0));
                let (targets, dloss) = (targets(rows, vocab_size), dloss(make, rows));
                let run = || all(logits(), targets.clone(), dloss.clone(), options);
                let found = run().map(|tensor| elements(&tensor));
                assert_eq!(found, portable(run).map(|tensor| elements(&tensor)));
                let expected = expected(logits(), targets.clone(), dloss.clone(), options);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, &elements(expected), tolerance);
                }
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

    /// The largest logits of f32 that differ by one: neither infinity nor NaN, and p sums to 1.
    #[test]
    fn large_logits_stay_finite() {
        for magnitude in [1e4, 1e30] {
            let logits = scaled(f32s([3, 50], 1), magnitude);
            let [loss, lse, dlogits] = all(logits, targets(3, 50), dloss(f32s, 3), PLAIN);
            for tensor in [loss, lse, dlogits] {
                assert!(elements(&tensor).into_iter().all(f64::is_finite));
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        for tensor in all(f32s([0, 8], 1), targets(0, 8), dloss(f32s, 0), BOTH) {
            assert!(elements(&tensor).is_empty());
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let of = || all(f32s([33, 1601], 1), targets(33, 1601), dloss(f32s, 33), BOTH);
        assert_same_bits(|| of().into());
    }

    #[test]
    fn memory_is_reused_only_if_nobody_else_holds_it() {
        let (logits, of) = (f64s([5, 9], 1), targets(5, 9));
        let (_, lse) = host::forward(logits.clone(), of.clone(), BOTH);
        let dloss = dloss(f64s, 5);
        let expected = host::backward(logits.clone(), of.clone(), lse.clone(), dloss.clone(), BOTH);
        assert_eq!(elements(&logits), elements(&f64s([5, 9], 1)));
        let address = logits.bytes().as_ptr();
        let found = host::backward(logits, of, lse, dloss, BOTH);
        assert_eq!(found.bytes().as_ptr(), address);
        assert_eq!(elements(&found), elements(&expected));
    }
}
