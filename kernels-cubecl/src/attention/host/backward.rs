//! The gradients: of each tile, scores and weights are made again from lse.

use std::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::{Heads, Sizes, TILE, pack};
use crate::attention::AttentionOptions;
use crate::host::{
    Contiguous, Disjoint, Scalar, Tile, contiguous, dot, for_each_task, into_tensor, product,
    unwritten, vectorised,
};

/// Results: dq like q, dk and dv `[B, S, K, H]`, which begin as zeros.
#[derive(Clone, Copy)]
struct Gradients<'a, E: Scalar> {
    dq: Disjoint<'a, MaybeUninit<E>>,
    dk: Disjoint<'a, E>,
    dv: Disjoint<'a, E>,
}

/// What a thread needs for one task after the other.
struct Scratch<E> {
    q: Vec<E>,     // [rows, H], scaled
    dout: Vec<E>,  // [rows, H]
    dq: Vec<E>,    // [rows, H]
    p: Vec<E>,     // [rows, keys of a tile]
    ds: Vec<E>,    // [rows, keys of a tile]
    delta: Vec<E>, // [rows]
    lse: Vec<E>,   // [rows]
}

impl<E: Scalar> Scratch<E> {
    fn new(sizes: &Sizes) -> Self {
        let rows = sizes.tile_tokens().min(sizes.length) * sizes.groups();
        let matrix = |width: usize| vec![E::ZERO; rows * width];
        let [q, dout, dq] = [sizes.head_dim; 3].map(matrix);
        let [p, ds, delta, lse] = [TILE, TILE, 1, 1].map(matrix);
        Self { q, dout, dq, p, ds, delta, lse }
    }
}

/// What all tasks read.
struct Inputs {
    q: Heads,
    k: Heads,
    v: Heads,
    out: Heads,
    dout: Heads,
    lse: Contiguous,
}

pub(super) fn gradients<E: Scalar>(
    [q, k, v, out]: [FlexTensor; 4],
    lse: FlexTensor,
    dout: FlexTensor,
    options: AttentionOptions,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let sizes = Sizes::of(&q, &k, options);
    let Sizes { batch, length, keys, heads, kv_heads, head_dim, .. } = sizes;
    let [q, k, v, out, dout] = [q, k, v, out, dout].map(Heads::new);
    let inputs = Inputs { q, k, v, out, dout, lse: contiguous(lse) };
    let mut dq = unwritten::<E>(batch * length * heads * head_dim);
    let [mut dk, mut dv] = [(); 2].map(|()| vec![E::ZERO; batch * keys * kv_heads * head_dim]);
    let gradients = Gradients {
        dq: Disjoint::new(&mut dq),
        dk: Disjoint::new(&mut dk),
        dv: Disjoint::new(&mut dv),
    };
    // A task has all tokens: their shares of dk and dv are added in order.
    for_each_task(
        sizes.sequences().collect(),
        sizes.elements(),
        || Scratch::new(&sizes),
        |scratch, (batch, kv_head)| {
            for first in (0..length).step_by(sizes.tile_tokens()) {
                let tokens = first..length.min(first + sizes.tile_tokens());
                // SAFETY: each task writes the gradients of its own heads.
                unsafe { of_tokens(&sizes, &inputs, [batch, kv_head], tokens, scratch, gradients) };
            }
        },
    );
    let of_keys = [batch, keys, kv_heads, head_dim];
    // SAFETY: the tasks cover all tokens and heads, of which each has written its dq.
    let dq = unsafe { into_tensor(dq, [batch, length, heads, head_dim]) };
    (dq, E::tensor(dk, of_keys.into()), E::tensor(dv, of_keys.into()))
}

/// # Safety
/// Nobody else writes the gradients of these heads.
unsafe fn of_tokens<E: Scalar>(
    sizes: &Sizes,
    inputs: &Inputs,
    [batch, kv_head]: [usize; 2],
    tokens: std::ops::Range<usize>,
    scratch: &mut Scratch<E>,
    gradients: Gradients<'_, E>,
) {
    let Sizes { length, head_dim, kv_heads, options, .. } = *sizes;
    let (groups, scale) = (sizes.groups(), E::narrow(options.scale));
    let (rows, heads) = (tokens.len() * groups, kv_head * groups..(kv_head + 1) * groups);
    let Scratch { q, dout, dq, p, ds, delta, lse } = scratch;
    let (delta, lse) = (&mut delta[..rows], &mut lse[..rows]);
    dq.fill(E::ZERO);
    vectorised(
        #[inline(always)]
        || {
            pack(&inputs.q, q, batch, tokens.clone(), heads.clone(), scale);
            pack(&inputs.dout, dout, batch, tokens.clone(), heads.clone(), E::ONE);
            for row in 0..rows {
                let (token, head) = (tokens.start + row / groups, heads.start + row % groups);
                let out = inputs.out.head::<E>(batch, token, head);
                delta[row] = dot(&dout[row * head_dim..][..head_dim], out);
                let at = (batch * sizes.heads + head) * length + token;
                lse[row] = inputs.lse.elements::<E>()[at];
            }
        },
    );
    let keys = sizes.visible(tokens.end - 1);
    for first in (0..keys).step_by(TILE) {
        let width = TILE.min(keys - first);
        let (p, ds) = (&mut p[..rows * width], &mut ds[..rows * width]);
        let at =
            |of: &Heads| Tile::of_rows(of.tokens::<E>(batch, first, width, kv_head), of.stride());
        let (k, v) = (at(&inputs.k), at(&inputs.v));
        let of_rows = |matrix: &[E], width: usize| Tile::of_rows(matrix.as_ptr(), width);
        let (q, dout) = (of_rows(q, head_dim), of_rows(dout, head_dim));
        let [scores, dp] = [&mut *p, &mut *ds].map(|tile| Tile::of_rows(tile.as_mut_ptr(), width));
        // SAFETY: [rows, width] = [rows, H] · [H, width] twice, all inside their buffers.
        unsafe {
            product(scores, false, [rows, width, head_dim], q, k.transposed());
            product(dp, false, [rows, width, head_dim], dout, v.transposed());
        }
        vectorised(
            #[inline(always)]
            || {
                let tiles = p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width));
                for (row, (p, ds)) in tiles.enumerate() {
                    let seen = sizes.visible(tokens.start + row / groups).saturating_sub(first);
                    let seen = seen.min(width);
                    for p in p[..seen].iter_mut() {
                        *p = (*p - lse[row]).exponential();
                    }
                    p[seen..].fill(E::ZERO);
                    for (ds, &p) in ds[..seen].iter_mut().zip(&p[..seen]) {
                        *ds = p * (*ds - delta[row]);
                    }
                    ds[seen..].fill(E::ZERO);
                }
            },
        );
        let stride = kv_heads * head_dim;
        let start = ((batch * sizes.keys + first) * kv_heads + kv_head) * head_dim;
        let of_keys = |gradient: Disjoint<'_, E>| {
            Tile::of_rows(gradient.rows(start, width, head_dim, stride), stride)
        };
        let (p, ds) = (of_rows(p, width), of_rows(ds, width));
        let dq = Tile::of_rows(dq.as_mut_ptr(), head_dim);
        // SAFETY: [width, H] += [width, rows] · [rows, H] twice and [rows, H] += [rows, width] ·
        // [width, H], all inside their buffers; dk and dv of this head are the caller's alone.
        unsafe {
            product(of_keys(gradients.dv), true, [width, head_dim, rows], p.transposed(), dout);
            product(of_keys(gradients.dk), true, [width, head_dim, rows], ds.transposed(), q);
            product(dq, true, [rows, head_dim, width], ds, k);
        }
    }
    for (row, dq) in dq[..rows * head_dim].chunks_exact(head_dim).enumerate() {
        let (token, head) = (tokens.start + row / groups, heads.start + row % groups);
        let start = ((batch * length + token) * sizes.heads + head) * head_dim;
        // SAFETY: as the caller says.
        let result = unsafe { gradients.dq.part(start, head_dim) };
        for (result, &x) in result.iter_mut().zip(dq) {
            result.write(x * scale);
        }
    }
}
