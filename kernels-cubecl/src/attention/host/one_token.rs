//! One token at the end of a cache: no matrix products, memory decides. A tile of keys stays in the first
//! cache for the G query heads that share it.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::forward::{Results, Task, weigh};
use super::{Heads, Sizes};
use crate::host::{Scalar, dot, vectorised};

/// Keys of a tile: 16 KiB of f32 with 64 elements in a head.
const TILE: usize = 64;

/// # Safety
/// Nobody else writes the results of the task.
pub(super) unsafe fn attend_to_all<E: Scalar>(
    sizes: &Sizes,
    [q, k, v]: [&Heads; 3],
    task: &Task,
    scratch: &mut Vec<E>,
    results: Results<'_, E>,
) {
    let (groups, head_dim) = (sizes.groups(), sizes.head_dim);
    let &Task { batch, kv_head, .. } = task;
    // scores [TILE], out [G, H]
    scratch.clear();
    scratch.resize(TILE + groups * head_dim, E::ZERO);
    let (scores, out) = scratch.split_at_mut(TILE);
    let mut statistics = vec![(E::narrow(f64::NEG_INFINITY), 0.0); groups];
    for first in (0..sizes.keys).step_by(TILE) {
        let count = TILE.min(sizes.keys - first);
        let keys = k.tokens::<E>(batch, first, count, kv_head);
        let values = v.tokens::<E>(batch, first, count, kv_head);
        let of_groups = out.chunks_exact_mut(head_dim).zip(&mut statistics);
        for (group, (out, (max, sum))) in of_groups.enumerate() {
            let query = q.head::<E>(batch, 0, kv_head * groups + group);
            let scores = &mut scores[..count];
            // SAFETY: `tokens` has asked for `count` heads, k.stride() and v.stride() apart.
            unsafe { score(query, keys, k.stride(), E::narrow(sizes.options.scale), scores) };
            vectorised(
                #[inline(always)]
                || weigh(scores, out, max, sum),
            );
            // SAFETY: likewise.
            unsafe { add(scores, values, v.stride(), out) };
        }
    }
    let of_groups = out.chunks_exact(head_dim).zip(statistics);
    for (group, (out, (max, sum))) in of_groups.enumerate() {
        // SAFETY: as the caller says.
        unsafe { results.write(sizes, [batch, 0, kv_head * groups + group], out, max, sum) };
    }
}

/// scores[i] = scale · Σ query · key i.
///
/// # Safety
/// There are as many keys as scores, `stride` apart and as long as the query.
unsafe fn score<E: Scalar>(query: &[E], keys: *const E, stride: usize, scale: E, scores: &mut [E]) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(query), Some(scores)) = (E::as_f32(query), E::as_f32_mut(scores))
        && is_wide(query.len())
    {
        // SAFETY: just asked; E is f32, and the rest is as the caller says.
        return unsafe { avx2::score(query, keys.cast(), stride, scale.widen() as f32, scores) };
    }
    for (index, score) in scores.iter_mut().enumerate() {
        // SAFETY: as the caller says.
        let key = unsafe { std::slice::from_raw_parts(keys.add(index * stride), query.len()) };
        *score = dot(query, key) * scale;
    }
}

/// out += Σ weights[i] · value i.
///
/// # Safety
/// There are as many values as weights, `stride` apart and as long as `out`.
unsafe fn add<E: Scalar>(weights: &[E], values: *const E, stride: usize, out: &mut [E]) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(weights), Some(out)) = (E::as_f32(weights), E::as_f32_mut(out))
        && is_wide(out.len())
    {
        // SAFETY: just asked; E is f32, and the rest is as the caller says.
        return unsafe { avx2::add(weights, values.cast(), stride, out) };
    }
    for (index, &weight) in weights.iter().enumerate() {
        // SAFETY: as the caller says.
        let value = unsafe { std::slice::from_raw_parts(values.add(index * stride), out.len()) };
        for (out, &x) in out.iter_mut().zip(value) {
            *out = *out + weight * x;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_wide(head_dim: usize) -> bool {
    #[cfg(test)]
    if crate::host::testing::is_portable() {
        return false;
    }
    avx2::is_available(head_dim)
}
