//! Sampling as one CubeCL kernel, a cube per row of logits.
//!
//! Thresholds are found by halving the range of the logits' bits: as unsigned integers, with negative
//! values turned over, the bits of an f32 are ordered as the values are. 32 steps find the largest bits
//! that still keep k logits, or a share p of the probability.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::SamplingOptions;
use crate::cube::{RowUnits, cube_count, elem, empty, reads, row_max, row_plan, row_sum};
use crate::precision::to_dtype;

/// What the options switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Steps {
    greedy: bool,
    top_k: bool,
    top_p: bool,
}

/// logits `[B, V]`, uniform `[B]` → ids `[B]`.
pub(crate) fn sample(
    logits: CubeTensor,
    uniform: CubeTensor,
    options: SamplingOptions,
) -> CubeTensor {
    let [rows, vocab_size] = logits.shape().dims();
    let logits = reads(logits);
    let uniform = reads(to_dtype::<CubeBackend>(uniform, DType::F32));
    let client = logits.client.clone();
    let ids = empty(&logits, [rows], DType::I32);
    if rows == 0 {
        return ids;
    }
    let SamplingOptions { temperature, top_k, top_p } = options;
    let steps = Steps {
        greedy: temperature == 0.0,
        top_k: top_k > 0 && top_k < vocab_size,
        top_p: top_p < 1.0,
    };
    let row = row_plan(&client, "cross_entropy", logits.dtype, vocab_size, false).row;
    let inverse = if steps.greedy { 1.0 } else { (1.0 / temperature) as f32 };
    let dtype = elem(logits.dtype);
    // SAFETY: one cube per row, ids compared with V.
    unsafe {
        sample_kernel::launch_unchecked(
            &client,
            cube_count(&client, rows),
            CubeDim::new_1d(row.units),
            logits.required_address_type(),
            logits.into_buffer_arg(),
            uniform.into_buffer_arg(),
            ids.clone().into_buffer_arg(),
            inverse,
            top_k as f32,
            top_p as f32,
            rows,
            vocab_size,
            RowUnits { rows: 1, ..row },
            steps,
            dtype,
        );
    }
    ids
}

/// The bits of a value, in the order of the values.
#[cube]
fn ordered(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    if bits >> 31 == 1 { !bits } else { bits | (1u32 << 31) }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn sample_kernel<F: Float>(
    logits: &[F],
    uniform: &[f32],
    ids: &mut [i32],
    inverse_temperature: f32,
    top_k: f32,
    top_p: f32,
    rows: usize,
    vocab_size: usize,
    #[comptime] row: RowUnits,
    #[comptime] steps: Steps,
    #[define(F)] _dtype: ElemType,
) {
    let units = comptime!(row.units as usize);
    let own = CUBE_POS.min(rows - 1);
    let first = own * vocab_size;
    // Each unit owns neighbouring ids, so that sums over units in order are sums over ids in order.
    let per_unit = vocab_size.div_ceil(units);
    let start = (UNIT_POS as usize * per_unit).min(vocab_size);
    let end = (start + per_unit).min(vocab_size);

    let mut max = f32::min_value();
    for id in start..end {
        max = max.max(f32::cast_from(logits[first + id]));
    }
    let max = row_max::<f32>(max, row);

    let mut threshold = 0u32;
    if comptime!(steps.top_k) {
        for bit in 0..32u32 {
            let higher = threshold | (1u32 << (31 - bit));
            let mut count = 0.0f32;
            for id in start..end {
                if ordered(f32::cast_from(logits[first + id])) >= higher {
                    count += 1.0;
                }
            }
            if row_sum::<f32>(count, row) >= top_k {
                threshold = higher;
            }
        }
    }
    if comptime!(steps.top_p) {
        let kept = threshold;
        let mut mass = 0.0f32;
        for id in start..end {
            let logit = f32::cast_from(logits[first + id]);
            if ordered(logit) >= kept {
                mass += ((logit - max) * inverse_temperature).exp();
            }
        }
        let wanted = top_p * row_sum::<f32>(mass, row);
        let mut found = 0u32;
        for bit in 0..32u32 {
            let higher = found | (1u32 << (31 - bit));
            let mut mass = 0.0f32;
            for id in start..end {
                let logit = f32::cast_from(logits[first + id]);
                if ordered(logit) >= higher {
                    mass += ((logit - max) * inverse_temperature).exp();
                }
            }
            if row_sum::<f32>(mass, row) >= wanted {
                found = higher;
            }
        }
        threshold = kept.max(found);
    }
    if comptime!(steps.greedy) {
        threshold = ordered(max);
    }

    let mut mass = 0.0f32;
    for id in start..end {
        let logit = f32::cast_from(logits[first + id]);
        if ordered(logit) >= threshold {
            mass += ((logit - max) * inverse_temperature).exp();
        }
    }
    let mut masses = Shared::<[f32]>::new_slice(units);
    masses[UNIT_POS as usize] = mass;
    sync_cube();
    if UNIT_POS == 0 && CUBE_POS < rows {
        let mut total = 0.0f32;
        for unit in 0..units {
            total += masses[unit];
        }
        let mut target = 0.0f32.runtime();
        if comptime!(!steps.greedy) {
            target = uniform[own] * total;
        }
        // The unit whose ids hold the target, then the id: the last one kept, if roundings leave none.
        let mut before = 0.0f32.runtime();
        let mut holder = units.runtime();
        let mut last = 0usize.runtime();
        for unit in 0..units {
            if holder == units {
                if masses[unit] > 0.0 {
                    last = unit;
                }
                if before + masses[unit] > target {
                    holder = unit;
                } else {
                    before += masses[unit];
                }
            }
        }
        if holder == units {
            holder = last;
        }
        let start = holder * per_unit;
        let end = (start + per_unit).min(vocab_size);
        let mut chosen = start;
        let mut found = false.runtime();
        for id in start..end {
            let logit = f32::cast_from(logits[first + id]);
            if !found && ordered(logit) >= threshold {
                before += ((logit - max) * inverse_temperature).exp();
                chosen = id;
                found = before > target;
            }
        }
        ids[own] = i32::cast_from(chosen);
    }
}
