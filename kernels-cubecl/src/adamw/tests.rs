//! Against PyTorch's order of operations in scalars.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, tensor, to_vec, values};
use crate::{AdamWStep, adamw, squared_norm};

const LEN: usize = 37;

#[test]
fn updates_are_the_formula() {
    let device = Device::flex();
    let step = |number| AdamWStep {
        learning_rate: 0.01 * number as f64,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        number,
    };
    let of = |values: &[f64]| tensor(values.to_vec(), [LEN], &device);
    let mut expected = [values(LEN, 1), vec![0.0; LEN], vec![0.0; LEN]];
    let mut parameter = of(&expected[0]);
    let mut moments = [of(&expected[1]), of(&expected[2])];
    for number in 1..=5 {
        let mut gradient = values(LEN, 10 + number);
        // One gradient so small that ε decides how far its parameter goes.
        gradient[3] *= 1e-7;
        let (scale, AdamWStep { learning_rate: lr, .. }) = (0.5 / number as f64, step(number));
        let scale_tensor = tensor(vec![scale], [1], &device);
        (parameter, moments) = adamw(parameter, moments, of(&gradient), scale_tensor, step(number));
        let [p, m, v] = &mut expected;
        for i in 0..LEN {
            let g = gradient[i] * scale;
            p[i] -= lr * 0.1 * p[i];
            m[i] += (g - m[i]) * 0.1;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            let t = number as i32;
            let denominator = v[i].sqrt() / (1.0 - 0.95_f64.powi(t)).sqrt() + 1e-8;
            p[i] -= lr / (1.0 - 0.9_f64.powi(t)) * m[i] / denominator;
        }
    }
    let [exp_avg, exp_avg_sq] = moments;
    for (found, expected) in [parameter, exp_avg, exp_avg_sq].into_iter().zip(expected) {
        assert_close(&to_vec(found), &expected, F64_ROUNDING);
    }
}

#[test]
fn the_norm_is_a_sum_of_squares() {
    let gradient = values(LEN, 1);
    let expected = gradient.iter().map(|g| g * g).sum::<f64>();
    let found = squared_norm(tensor(gradient, [LEN], &Device::flex()));
    assert_close(&to_vec(found), &[expected], F64_ROUNDING);
}

mod of_the_host {
    use burn_flex::{Flex, FlexTensor};

    use super::{AdamWStep, F64_ROUNDING, assert_close};
    use crate::adamw::{host, reference};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scattered,
    };

    type Make = fn([usize; 2], u64) -> FlexTensor;
    type Update = fn(
        FlexTensor,
        FlexTensor,
        FlexTensor,
        FlexTensor,
        FlexTensor,
        AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor);

    const STEP: AdamWStep = AdamWStep {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        number: 3,
    };

    fn flat(make: Make, len: usize, seed: u64) -> FlexTensor {
        make([1, len], seed).reshape([len].into())
    }

    /// Parameter, moments, gradient and scale; the second moment is a square.
    fn inputs(make: Make, len: usize) -> [FlexTensor; 5] {
        use burn::backend::ops::FloatTensorOps;
        let root = flat(make, len, 3);
        let exp_avg_sq = Flex::float_mul(root.clone(), root);
        let [parameter, exp_avg, gradient] = [1, 2, 4].map(|seed| flat(make, len, seed));
        [parameter, exp_avg, exp_avg_sq, gradient, flat(make, 1, 5)]
    }

    fn all(
        update: Update,
        [parameter, exp_avg, exp_avg_sq, gradient, scale]: [FlexTensor; 5],
    ) -> [FlexTensor; 3] {
        update(parameter, exp_avg, exp_avg_sq, gradient, scale, STEP).into()
    }

    #[test]
    fn it_is_the_reference() {
        for (make, tolerance) in [(f64s as Make, F64_ROUNDING), (f32s, F32_SUMS)] {
            for len in [1, 31, 67, 40_000] {
                let found = all(host::update, inputs(make, len)).map(|tensor| elements(&tensor));
                let expected = all(reference::update::<Flex>, inputs(make, len));
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, &elements(expected), tolerance);
                }
                // Short buffers, as long ones are updated in other threads.
                if len < 100 {
                    let old = portable(|| all(host::update, inputs(make, len)));
                    assert_eq!(found, old.map(|tensor| elements(&tensor)));
                }

                let gradient = || flat(make, len, 4);
                let found = elements(&host::squared_norm(gradient()));
                let expected = reference::squared_norm::<Flex>(gradient());
                assert_close(&found, &elements(&expected), tolerance);
                assert_eq!(found, portable(|| elements(&host::squared_norm(gradient()))));
            }
        }
    }

    #[test]
    fn elements_may_lie_apart() {
        let column = |tensor: FlexTensor| scattered(tensor).transpose(0, 1).narrow(0, 1, 1);
        let gradient = || column(f64s([7, 3], 4)).reshape([7].into());
        let expected = reference::squared_norm::<Flex>(gradient());
        assert_close(
            &elements(&host::squared_norm(gradient())),
            &elements(&expected),
            F64_ROUNDING,
        );
    }

    #[test]
    fn nothing_is_updated_to_nothing() {
        for tensor in all(host::update, inputs(f32s, 0)) {
            assert!(elements(&tensor).is_empty());
        }
        assert_eq!(elements(&host::squared_norm(flat(f32s, 0, 1))), [0.0]);
    }

    /// More than one block, the last of them not whole.
    #[test]
    fn threads_change_no_bit() {
        assert_same_bits(|| {
            let updated = all(host::update, inputs(f32s, 150_001));
            let [parameter, ..] = updated.clone();
            [&updated[..], &[host::squared_norm(parameter)]].concat()
        });
    }

    #[test]
    fn memory_is_reused_only_if_nobody_else_holds_it() {
        let held = inputs(f64s, 40);
        let expected = all(host::update, held.clone());
        assert_eq!(held.each_ref().map(elements), inputs(f64s, 40).each_ref().map(elements));
        let addresses = held.each_ref().map(|tensor| tensor.bytes().as_ptr());
        let found = all(host::update, held);
        assert_eq!(found.each_ref().map(|tensor| tensor.bytes().as_ptr()), addresses[..3]);
        assert_eq!(found.each_ref().map(elements), expected.each_ref().map(elements));
    }
}
