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
use crate::cube::{
    RowUnits, cube_count, elem, empty, reads, row_max, row_plan, row_sum, shares_memory,
};
use crate::precision::to_dtype;

/// What the options switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Steps {
    greedy: bool,
    top_k: bool,
    top_p: bool,
}

/// Logits of a unit that stay in registers; more are read again for each bit.
const MOST_KEPT: usize = 40;

/// How the units of a row share its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Walk {
    vocab_size: usize,
    per_unit: usize,
    keep: bool,
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
    let mut row = row_plan(&client, "sample", logits.dtype, vocab_size, false).row;
    if !shares_memory(&client) {
        row.units = 1;
    }
    let per_unit = vocab_size.div_ceil(row.units as usize);
    let walk = Walk { vocab_size, per_unit, keep: per_unit <= MOST_KEPT };
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
            RowUnits { rows: 1, ..row },
            walk,
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

/// The value of [`ordered`] bits.
#[cube]
fn value_of(key: u32) -> f32 {
    f32::reinterpret(if key >> 31 == 1 { key & 0x7fff_ffffu32 } else { !key })
}

/// The key of the i-th logit of this unit; 0, below all keys, past the last logit.
#[cube]
fn key_at<F: Float>(
    logits: &[F],
    first: usize,
    i: usize,
    #[comptime] row: RowUnits,
    #[comptime] walk: Walk,
) -> u32 {
    let id = i * comptime!(row.units as usize) + UNIT_POS as usize;
    let mut key = 0u32.runtime();
    if id < walk.vocab_size {
        key = ordered(f32::cast_from(logits[first + id]));
    }
    key
}

/// Number of logits, or with `weigh` sum of their weights, whose key is at least `threshold`: of the
/// whole row, the same in every unit.
#[cube]
fn at_least<F: Float>(
    logits: &[F],
    keys: &Array<u32>,
    first: usize,
    threshold: u32,
    max: f32,
    inverse_temperature: f32,
    #[comptime] weigh: bool,
    #[comptime] row: RowUnits,
    #[comptime] walk: Walk,
) -> f32 {
    let mut sum = 0.0f32.runtime();
    #[unroll(walk.keep)]
    for i in 0..walk.per_unit {
        let key =
            if comptime!(walk.keep) { keys[i] } else { key_at::<F>(logits, first, i, row, walk) };
        if key >= threshold && key > 0 {
            if comptime!(weigh) {
                sum += ((value_of(key) - max) * inverse_temperature).exp();
            } else {
                sum += 1.0f32;
            }
        }
    }
    row_sum::<f32>(sum, row)
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
    #[comptime] row: RowUnits,
    #[comptime] walk: Walk,
    #[comptime] steps: Steps,
    #[define(F)] _dtype: ElemType,
) {
    let own = CUBE_POS.min(rows - 1);
    let first = own * walk.vocab_size;
    let mut keys = Array::<u32>::new(comptime!(if walk.keep { walk.per_unit } else { 1 }));
    let mut max = f32::min_value();
    #[unroll(walk.keep)]
    for i in 0..walk.per_unit {
        let key = key_at::<F>(logits, first, i, row, walk);
        if comptime!(walk.keep) {
            keys[i] = key;
        }
        if key > 0 {
            max = max.max(value_of(key));
        }
    }
    let max = row_max::<f32>(max, row);

    // The largest key that keeps enough, from its highest bit down.
    let mut threshold = 0u32.runtime();
    if comptime!(steps.top_k) {
        for bit in 0..32u32 {
            let higher = threshold | (1u32 << (31 - bit));
            let count = at_least::<F>(
                logits,
                &keys,
                first,
                higher,
                max,
                inverse_temperature,
                false,
                row,
                walk,
            );
            if count >= top_k {
                threshold = higher;
            }
        }
    }
    if comptime!(steps.top_p) {
        let kept = at_least::<F>(
            logits,
            &keys,
            first,
            threshold,
            max,
            inverse_temperature,
            true,
            row,
            walk,
        );
        let mut found = 0u32.runtime();
        for bit in 0..32u32 {
            let higher = found | (1u32 << (31 - bit));
            let mass = at_least::<F>(
                logits,
                &keys,
                first,
                higher,
                max,
                inverse_temperature,
                true,
                row,
                walk,
            );
            if mass >= top_p * kept {
                found = higher;
            }
        }
        threshold = threshold.max(found);
    }
    if comptime!(steps.greedy) {
        threshold = ordered(max);
    }
    draw::<F>(
        logits,
        uniform,
        ids,
        first,
        threshold,
        max,
        inverse_temperature,
        rows,
        row,
        walk,
        steps,
    );
}

/// Draws from the logits at or above the threshold, in the order of ids: each unit owns neighbouring ones,
/// and the first unit finds whose sum the random number falls into.
#[cube]
fn draw<F: Float>(
    logits: &[F],
    uniform: &[f32],
    ids: &mut [i32],
    first: usize,
    threshold: u32,
    max: f32,
    inverse_temperature: f32,
    rows: usize,
    #[comptime] row: RowUnits,
    #[comptime] walk: Walk,
    #[comptime] steps: Steps,
) {
    let units = comptime!(row.units as usize);
    let own = CUBE_POS.min(rows - 1);
    let mut holder = 0usize.runtime();
    let mut before = 0.0f32.runtime();
    let mut target = 0.0f32.runtime();
    let start = (UNIT_POS as usize * walk.per_unit).min(walk.vocab_size);
    let end = (start + walk.per_unit).min(walk.vocab_size);
    let mut mass = 0.0f32.runtime();
    for id in start..end {
        let logit = f32::cast_from(logits[first + id]);
        if ordered(logit) >= threshold {
            mass += ((logit - max) * inverse_temperature).exp();
        }
    }
    if comptime!(units == 1) {
        if comptime!(!steps.greedy) {
            target = uniform[own] * mass;
        }
    } else {
        let mut masses = Shared::<[f32]>::new_slice(units);
        masses[UNIT_POS as usize] = mass;
        sync_cube();
        if UNIT_POS == 0 {
            if comptime!(!steps.greedy) {
                let mut total = 0.0f32.runtime();
                for unit in 0..units {
                    total += masses[unit];
                }
                target = uniform[own] * total;
            }
            // The last unit with any mass, if roundings leave none.
            let mut unit = 0usize.runtime();
            let mut sum = 0.0f32.runtime();
            let mut found = false.runtime();
            while unit < units && !found {
                if masses[unit] > 0.0 {
                    holder = unit;
                    before = sum;
                    sum += masses[unit];
                    found = sum > target;
                }
                unit += 1;
            }
        }
    }
    if UNIT_POS == 0 && CUBE_POS < rows {
        let mut id = holder * walk.per_unit;
        let end = (id + walk.per_unit).min(walk.vocab_size);
        let mut chosen = id;
        let mut found = false.runtime();
        while id < end && !found {
            let logit = f32::cast_from(logits[first + id]);
            if ordered(logit) >= threshold {
                before += ((logit - max) * inverse_temperature).exp();
                chosen = id;
                found = before > target;
            }
            id += 1;
        }
        ids[own] = i32::cast_from(chosen);
    }
}
