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
