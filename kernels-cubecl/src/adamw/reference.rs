//! AdamW in Burn's tensor operations.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::AdamWStep;
use crate::precision::to_f32;

/// gradient `[len]` → `[1]`, f32.
pub(crate) fn squared_norm<B: Backend>(gradient: FloatTensor<B>) -> FloatTensor<B> {
    let gradient = to_f32::<B>(gradient);
    B::float_sum(B::float_mul(gradient.clone(), gradient))
}

/// → (parameter, exp_avg, exp_avg_sq).
pub(crate) fn update<B: Backend>(
    parameter: FloatTensor<B>,
    exp_avg: FloatTensor<B>,
    exp_avg_sq: FloatTensor<B>,
    gradient: FloatTensor<B>,
    scale: FloatTensor<B>,
    step: AdamWStep,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, .. } = step;
    let (bias1, bias2) = step.bias_corrections();
    let times = |tensor, factor: f64| B::float_mul_scalar(tensor, factor.into());
    let g = B::float_mul(gradient, scale);
    let g_squared = B::float_mul(g.clone(), g.clone());
    let exp_avg = B::float_add(times(exp_avg, beta1), times(g, 1.0 - beta1));
    let exp_avg_sq = B::float_add(times(exp_avg_sq, beta2), times(g_squared, 1.0 - beta2));
    let root = B::float_sqrt(times(exp_avg_sq.clone(), 1.0 / bias2));
    let root = B::float_add_scalar(root, eps.into());
    let direction = B::float_div(times(exp_avg.clone(), learning_rate / bias1), root);
    let decayed = times(parameter, 1.0 - learning_rate * weight_decay);
    (B::float_sub(decayed, direction), exp_avg, exp_avg_sq)
}
