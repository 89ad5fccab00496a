//! One token at the end of a cache: no matrix products, memory decides. A key is read once for the G query
//! heads that share it.

use super::forward::{Results, Task, weigh};
use super::{Heads, Sizes, TILE};
use crate::host::{Scalar, dot, vectorised};

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
    // scores [G, TILE], out [G, H]
    scratch.clear();
    scratch.resize(groups * (TILE + head_dim), E::ZERO);
    let (scores, out) = scratch.split_at_mut(groups * TILE);
    let mut statistics = vec![(E::narrow(f64::NEG_INFINITY), 0.0); groups];
    let scale = E::narrow(sizes.options.scale);
    vectorised(
        #[inline(always)]
        || {
            for first in (0..sizes.keys).step_by(TILE) {
                let width = TILE.min(sizes.keys - first);
                for offset in 0..width {
                    let key = k.head::<E>(batch, first + offset, kv_head);
                    for group in 0..groups {
                        let query = q.head::<E>(batch, 0, kv_head * groups + group);
                        scores[group * TILE + offset] = dot(query, key) * scale;
                    }
                }
                for (group, (max, sum)) in statistics.iter_mut().enumerate() {
                    let scores = &mut scores[group * TILE..][..width];
                    weigh(scores, &mut out[group * head_dim..][..head_dim], max, sum);
                }
                let value = |offset: usize| v.head::<E>(batch, first + offset, kv_head);
                for offset in (0..width).step_by(4) {
                    let of_four = 4.min(width - offset);
                    for group in 0..groups {
                        let weights = &scores[group * TILE + offset..][..of_four];
                        let out = &mut out[group * head_dim..][..head_dim];
                        match *weights {
                            [a, b, c, d] => {
                                let values = [0, 1, 2, 3].map(|step| value(offset + step));
                                add_four(out, [a, b, c, d], values);
                            }
                            _ => {
                                for (step, &weight) in weights.iter().enumerate() {
                                    for (out, &x) in out.iter_mut().zip(value(offset + step)) {
                                        *out = *out + weight * x;
                                    }
                                }
                            }
                        }
                    }
                }
            }
            for (group, &(max, sum)) in statistics.iter().enumerate() {
                let at = [batch, 0, kv_head * groups + group];
                // SAFETY: as the caller says.
                unsafe { results.write(sizes, at, &out[group * head_dim..][..head_dim], max, sum) };
            }
        },
    );
}

/// out += Σ weight · value of four values, so that out is read and written once for them.
#[inline(always)]
fn add_four<E: Scalar>(out: &mut [E], weights: [E; 4], [a, b, c, d]: [&[E]; 4]) {
    let values = a.iter().zip(b).zip(c.iter().zip(d));
    for (out, ((&a, &b), (&c, &d))) in out.iter_mut().zip(values) {
        let sum = (weights[0] * a + weights[1] * b) + (weights[2] * c + weights[3] * d);
        *out = *out + sum;
    }
}
