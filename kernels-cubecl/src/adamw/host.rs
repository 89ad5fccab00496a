//! AdamW in plain Rust: one pass over the four buffers, in place where nobody else holds them.

use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::{AdamWStep, reference};
use crate::host::{
    Scalar, contiguous, for_each_share, overwritable, owned, rows_per_share, shared_dtype,
    sum_of_squares, vectorised,
};

/// Elements whose squares are summed together. It fixes the order of the sum of all.
const BLOCK: usize = 1 << 14;

/// gradient `[len]` → `[1]`, summed in f64.
pub(crate) fn squared_norm(gradient: FlexTensor) -> FlexTensor {
    match shared_dtype([&gradient]) {
        Some(DType::F32) => sum::<f32>(gradient),
        Some(DType::F64) => sum::<f64>(gradient),
        _ => reference::squared_norm::<Flex>(gradient),
    }
}

/// → (parameter, exp_avg, exp_avg_sq).
pub(crate) fn update(
    parameter: FlexTensor,
    exp_avg: FlexTensor,
    exp_avg_sq: FlexTensor,
    gradient: FlexTensor,
    scale: FlexTensor,
    step: AdamWStep,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let state = [parameter, exp_avg, exp_avg_sq];
    let [parameter, exp_avg, exp_avg_sq] = &state;
    let dtype = shared_dtype([parameter, exp_avg, exp_avg_sq, &gradient, &scale]);
    let [parameter, exp_avg, exp_avg_sq] = match dtype {
        Some(DType::F32) => update_in_place::<f32>(state, gradient, scale, step),
        Some(DType::F64) => update_in_place::<f64>(state, gradient, scale, step),
        _ => {
            let [parameter, exp_avg, exp_avg_sq] = state;
            return reference::update::<Flex>(
                parameter, exp_avg, exp_avg_sq, gradient, scale, step,
            );
        }
    };
    (parameter, exp_avg, exp_avg_sq)
}

fn sum<E: Scalar>(gradient: FlexTensor) -> FlexTensor {
    let gradient = contiguous(gradient);
    let gradient = gradient.elements::<E>();
    let blocks = gradient.len().div_ceil(BLOCK);
    let mut sums = vec![0.0; blocks];
    let per_share = rows_per_share(blocks, gradient.len()); // blocks
    let shares = gradient.chunks(per_share * BLOCK).zip(sums.chunks_mut(per_share));
    for_each_share(shares, |(gradient, sums)| {
        vectorised(
            #[inline(always)]
            || {
                for (sum, block) in sums.iter_mut().zip(gradient.chunks(BLOCK)) {
                    *sum = sum_of_squares(block);
                }
            },
        );
    });
    E::tensor(vec![E::narrow(sums.iter().sum())], [1].into())
}

/// The constants of an update, rounded once.
struct Factors<E> {
    scale: E,
    beta1: E,
    rest1: E,
    beta2: E,
    rest2: E,
    inverse_bias2: E,
    rate: E,
    eps: E,
    decay: E,
}

fn update_in_place<E: Scalar>(
    state: [FlexTensor; 3],
    gradient: FlexTensor,
    scale: FlexTensor,
    step: AdamWStep,
) -> [FlexTensor; 3] {
    let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, .. } = step;
    let (bias1, bias2) = step.bias_corrections();
    let factors = Factors {
        scale: contiguous(scale).elements::<E>()[0],
        beta1: E::narrow(beta1),
        rest1: E::narrow(1.0 - beta1),
        beta2: E::narrow(beta2),
        rest2: E::narrow(1.0 - beta2),
        inverse_bias2: E::narrow(1.0 / bias2),
        rate: E::narrow(learning_rate / bias1),
        eps: E::narrow(eps),
        decay: E::narrow(1.0 - learning_rate * weight_decay),
    };
    let gradient = contiguous(gradient);
    let gradient = gradient.elements::<E>();
    let mut state = state.map(owned::<E>);
    let [parameter, exp_avg, exp_avg_sq] =
        state.each_mut().map(|tensor| overwritable::<E>(tensor).expect("owned"));
    let per_share = rows_per_share(gradient.len(), 7 * gradient.len());
    let moments = exp_avg.chunks_mut(per_share).zip(exp_avg_sq.chunks_mut(per_share));
    let shares = parameter.chunks_mut(per_share).zip(moments).zip(gradient.chunks(per_share));
    for_each_share(shares, |((parameter, (exp_avg, exp_avg_sq)), gradient)| {
        vectorised(
            #[inline(always)]
            || update_share(parameter, exp_avg, exp_avg_sq, gradient, &factors),
        );
    });
    state
}

#[inline(always)]
fn update_share<E: Scalar>(
    parameter: &mut [E],
    exp_avg: &mut [E],
    exp_avg_sq: &mut [E],
    gradient: &[E],
    by: &Factors<E>,
) {
    let moments = exp_avg.iter_mut().zip(exp_avg_sq);
    for ((p, (m, v)), &g) in parameter.iter_mut().zip(moments).zip(gradient) {
        let g = g * by.scale;
        *m = *m * by.beta1 + g * by.rest1;
        *v = *v * by.beta2 + g * g * by.rest2;
        let root = (*v * by.inverse_bias2).root() + by.eps;
        *p = *p * by.decay - *m * by.rate / root;
    }
}
