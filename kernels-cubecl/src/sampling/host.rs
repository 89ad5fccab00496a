//! Sampling in plain Rust.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::SamplingOptions;
use crate::precision::to_dtype;

/// logits `[B, V]`, uniform `[B]` → ids `[B]`.
pub(crate) fn sample(
    logits: FlexTensor,
    uniform: FlexTensor,
    options: SamplingOptions,
) -> FlexTensor {
    let [_, vocab_size] = logits.shape().dims();
    let logits = to_dtype::<Flex>(logits, DType::F32).to_contiguous();
    let uniform = to_dtype::<Flex>(uniform, DType::F32).to_contiguous();
    let rows = logits.storage::<f32>().chunks(vocab_size).zip(uniform.storage::<f32>());
    let ids: Vec<i64> = rows.map(|(row, &u)| draw(row, u, options) as i64).collect();
    let count = ids.len();
    FlexTensor::from_data(TensorData::new(ids, [count]))
}

/// The id drawn of one row.
fn draw(logits: &[f32], uniform: f32, options: SamplingOptions) -> usize {
    let SamplingOptions { temperature, top_k, top_p } = options;
    let mut largest = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[largest] {
            largest = id;
        }
    }
    if temperature == 0.0 {
        return largest;
    }
    let weight = |logit: f32| (f64::from(logit - logits[largest]) / temperature).exp();
    let mut falling = logits.to_vec();
    falling.sort_unstable_by(|a, b| b.total_cmp(a));
    let kth = match top_k {
        0 => f32::NEG_INFINITY,
        k => falling[k.min(falling.len()) - 1],
    };
    falling.retain(|&logit| logit >= kth);
    let total: f64 = falling.iter().map(|&logit| weight(logit)).sum();
    let mut sum = 0.0;
    let reached = falling.iter().find(|&&logit| {
        sum += weight(logit);
        sum >= top_p * total
    });
    let threshold = if top_p < 1.0 { *reached.unwrap_or(&kth) } else { kth };

    let kept = || logits.iter().enumerate().filter(|(_, logit)| **logit >= threshold);
    let target = f64::from(uniform) * kept().map(|(_, &logit)| weight(logit)).sum::<f64>();
    let mut sum = 0.0;
    let drawn = kept().find(|(_, logit)| {
        sum += weight(**logit);
        sum > target
    });
    drawn.map_or(largest, |(id, _)| id)
}
