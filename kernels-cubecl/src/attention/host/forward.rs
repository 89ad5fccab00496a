//! The softmax of rows whose scores come in tiles: maximum and sum so far, and an output that is scaled
//! whenever the maximum grows.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn_flex::FlexTensor;

use super::one_token::attend_to_all;
use super::{Heads, Sizes, TILE, pack};
use crate::attention::AttentionOptions;
use crate::host::{
    Disjoint, Scalar, Tile, for_each_task, into_tensor, largest, product, sum, unwritten,
    vectorised,
};

pub(super) struct Task {
    pub(super) batch: usize,
    pub(super) kv_head: usize,
    pub(super) tokens: Range<usize>,
}

/// Results: out `[B, T, N, H]` and lse `[B, N, T]`.
#[derive(Clone, Copy)]
pub(super) struct Results<'a, E: Scalar> {
    pub(super) out: Disjoint<'a, MaybeUninit<E>>,
    pub(super) lse: Disjoint<'a, MaybeUninit<E>>,
}

impl<E: Scalar> Results<'_, E> {
    /// Writes o / Σ and its lse for one head of one token.
    ///
    /// # Safety
    /// Nobody else writes those.
    #[inline(always)]
    pub(super) unsafe fn write(
        self,
        sizes: &Sizes,
        [batch, token, head]: [usize; 3],
        row: &[E],
        max: E,
        sum: f64,
    ) {
        let Sizes { length, heads, head_dim, .. } = *sizes;
        let at = (batch * length + token) * heads + head;
        // SAFETY: the caller's alone.
        let (out, lse) = unsafe {
            let at_lse = (batch * heads + head) * length + token;
            (self.out.part(at * head_dim, head_dim), self.lse.part(at_lse, 1))
        };
        let factor = E::narrow(1.0 / sum);
        for (out, &x) in out.iter_mut().zip(row) {
            out.write(x * factor);
        }
        lse[0].write(E::narrow(max.widen() + sum.ln()));
    }
}

pub(super) fn attend<E: Scalar>(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    options: AttentionOptions,
) -> (FlexTensor, FlexTensor) {
    let sizes = Sizes::of(&q, &k, options);
    let Sizes { batch, length, heads, head_dim, .. } = sizes;
    let (q, k, v) = (Heads::new(q), Heads::new(k), Heads::new(v));
    let mut out = unwritten::<E>(batch * length * heads * head_dim);
    let mut lse = unwritten::<E>(batch * heads * length);
    let results = Results { out: Disjoint::new(&mut out), lse: Disjoint::new(&mut lse) };
    let step = sizes.tile_tokens();
    let tasks = sizes.sequences().flat_map(|(batch, kv_head)| {
        (0..length).step_by(step).map(move |first| Task {
            batch,
            kv_head,
            tokens: first..length.min(first + step),
        })
    });
    let (tasks, elements) = (tasks.collect::<Vec<_>>(), sizes.elements());
    let inputs = [&q, &k, &v];
    // Each task writes the query heads of its own key-value head, for its own tokens.
    if length == 1 {
        for_each_task(tasks, elements, Vec::new, |scratch, task| {
            // SAFETY: see above.
            unsafe { attend_to_all(&sizes, inputs, &task, scratch, results) };
        });
    } else {
        let scratch = || Scratch::new(&sizes);
        for_each_task(tasks, elements, scratch, |scratch, task| {
            // SAFETY: see above.
            unsafe { attend_in_tiles(&sizes, inputs, task, scratch, results) };
        });
    }
    // SAFETY: the tasks cover all tokens and heads, of which each has written its results.
    unsafe {
        (
            into_tensor(out, [batch, length, heads, head_dim]),
            into_tensor(lse, [batch, heads, length]),
        )
    }
}

/// What a thread needs for one task after the other.
struct Scratch<E> {
    q: Vec<E>,      // [rows, H], scaled
    scores: Vec<E>, // [rows, keys of a tile]
    out: Vec<E>,    // [rows, H]
    max: Vec<E>,    // [rows]
    sum: Vec<f64>,  // [rows]
}

impl<E: Scalar> Scratch<E> {
    fn new(sizes: &Sizes) -> Self {
        let rows = sizes.tile_tokens().min(sizes.length) * sizes.groups();
        let matrix = |width: usize| vec![E::ZERO; rows * width];
        Self {
            q: matrix(sizes.head_dim),
            scores: matrix(TILE),
            out: matrix(sizes.head_dim),
            max: matrix(1),
            sum: vec![0.0; rows],
        }
    }
}

/// # Safety
/// Nobody else writes the results of the task.
unsafe fn attend_in_tiles<E: Scalar>(
    sizes: &Sizes,
    [q, k, v]: [&Heads; 3],
    Task { batch, kv_head, tokens }: Task,
    scratch: &mut Scratch<E>,
    results: Results<'_, E>,
) {
    let (groups, head_dim) = (sizes.groups(), sizes.head_dim);
    let (rows, heads) = (tokens.len() * groups, kv_head * groups..(kv_head + 1) * groups);
    let Scratch { q: queries, scores, out, max, sum } = scratch;
    let (out, max, sum) = (&mut out[..rows * head_dim], &mut max[..rows], &mut sum[..rows]);
    pack(q, queries, batch, tokens.clone(), heads.clone(), E::narrow(sizes.options.scale));
    out.fill(E::ZERO);
    max.fill(E::narrow(f64::NEG_INFINITY));
    sum.fill(0.0);
    let keys = sizes.visible(tokens.end - 1);
    for first in (0..keys).step_by(TILE) {
        let width = TILE.min(keys - first);
        let scores = &mut scores[..rows * width];
        let keys = Tile::of_rows(k.tokens::<E>(batch, first, width, kv_head), k.stride());
        let values = Tile::of_rows(v.tokens::<E>(batch, first, width, kv_head), v.stride());
        let queries = Tile::of_rows(queries.as_ptr(), head_dim);
        let of_scores = Tile::of_rows(scores.as_mut_ptr(), width);
        // SAFETY: [rows, width] = [rows, H] · [H, width], all inside their buffers.
        unsafe { product(of_scores, false, [rows, width, head_dim], queries, keys.transposed()) };
        vectorised(
            #[inline(always)]
            || {
                let rows = scores.chunks_exact_mut(width).zip(out.chunks_exact_mut(head_dim));
                let statistics = max.iter_mut().zip(sum.iter_mut());
                for (row, ((scores, out), (max, sum))) in rows.zip(statistics).enumerate() {
                    let seen = sizes.visible(tokens.start + row / groups).saturating_sub(first);
                    let (scores, hidden) = scores.split_at_mut(seen.min(width));
                    hidden.fill(E::ZERO);
                    weigh(scores, out, max, sum);
                }
            },
        );
        let weights = Tile::of_rows(scores.as_ptr(), width);
        let out = Tile::of_rows(out.as_mut_ptr(), head_dim);
        // SAFETY: [rows, H] += [rows, width] · [width, H], all inside their buffers.
        unsafe { product(out, true, [rows, head_dim, width], weights, values) };
    }
    for (row, out) in out.chunks_exact(head_dim).enumerate() {
        let at = [batch, tokens.start + row / groups, heads.start + row % groups];
        // SAFETY: as the caller says.
        unsafe { results.write(sizes, at, out, max[row], sum[row]) };
    }
}

/// Scores become weights exp(score − maximum); output and sum so far are scaled to the new maximum.
#[inline(always)]
pub(super) fn weigh<E: Scalar>(scores: &mut [E], out: &mut [E], max: &mut E, total: &mut f64) {
    let of_tile = largest(scores);
    if of_tile > *max {
        let factor = (*max - of_tile).exponential();
        for out in out.iter_mut() {
            *out = *out * factor;
        }
        *total *= factor.widen();
        *max = of_tile;
    }
    for score in scores.iter_mut() {
        *score = (*score - *max).exponential();
    }
    *total += sum(scores);
}
