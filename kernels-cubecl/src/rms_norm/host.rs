//! RMSNorm in plain Rust: one pass over memory, rows in shares.

use std::mem::MaybeUninit;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::reference;
use crate::host::{
    Scalar, contiguous, dot, for_each_share, into_tensor, overwritable, rows_per_share,
    shared_dtype, unwritten, vectorised, writable,
};

/// Rows whose contributions to the weight's gradient are summed together. It fixes the order of that sum.
const BLOCK_ROWS: usize = 32;

/// x `[R, D]`, weight `[D]` → (y `[R, D]`, rstd `[R]`).
pub(crate) fn forward(x: FlexTensor, weight: FlexTensor, eps: f64) -> (FlexTensor, FlexTensor) {
    match shared_dtype([&x, &weight]) {
        Some(DType::F32) => normalise::<f32>(x, weight, eps),
        Some(DType::F64) => normalise::<f64>(x, weight, eps),
        _ => reference::forward::<Flex>(x, weight, eps),
    }
}

/// x, residual `[R, D]` → (y, sum `[R, D]`, rstd `[R]`); the sum lies over a summand that nobody else holds.
pub(crate) fn add_forward(
    x: FlexTensor,
    residual: FlexTensor,
    weight: FlexTensor,
    eps: f64,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    match shared_dtype([&x, &residual, &weight]) {
        Some(DType::F32) => add_and_normalise::<f32>(x, residual, weight, eps),
        Some(DType::F64) => add_and_normalise::<f64>(x, residual, weight, eps),
        _ => reference::add_forward::<Flex>(x, residual, weight, eps),
    }
}

/// → (dx `[R, D]`, dweight `[D]`); dx lies over dy when nobody else holds it.
pub(crate) fn backward(
    x: FlexTensor,
    weight: FlexTensor,
    rstd: FlexTensor,
    dy: FlexTensor,
) -> (FlexTensor, FlexTensor) {
    match shared_dtype([&x, &weight, &rstd, &dy]) {
        Some(DType::F32) => gradients::<f32>(x, weight, rstd, dy),
        Some(DType::F64) => gradients::<f64>(x, weight, rstd, dy),
        _ => reference::backward::<Flex>(x, weight, rstd, dy),
    }
}

fn normalise<E: Scalar>(x: FlexTensor, weight: FlexTensor, eps: f64) -> (FlexTensor, FlexTensor) {
    let [rows, width] = x.shape().dims();
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (mut y, mut rstd) = (unwritten::<E>(rows * width), unwritten::<E>(rows));
    let per_share = rows_per_share(rows, 2 * rows * width);
    let x = x.elements::<E>().chunks(per_share * width);
    let results = y.chunks_mut(per_share * width).zip(rstd.chunks_mut(per_share));
    for_each_share(x.zip(results), |(x, (y, rstd))| {
        vectorised(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(rstd);
                for ((x, y), rstd) in rows {
                    rstd.write(normalise_row(x, weight.elements(), eps, y));
                }
            },
        );
    });
    // SAFETY: the shares cover all rows, of which each has written all of y and its rstd.
    unsafe { (into_tensor(y, [rows, width]), into_tensor(rstd, [rows])) }
}

fn add_and_normalise<E: Scalar>(
    x: FlexTensor,
    residual: FlexTensor,
    weight: FlexTensor,
    eps: f64,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let [rows, width] = x.shape().dims();
    let can_hold_the_sum = |tensor: &FlexTensor| tensor.is_unique() && tensor.is_contiguous();
    let (mut x, residual) = match can_hold_the_sum(&residual) {
        true => (residual, x),
        false => (x, residual),
    };
    let (residual, weight) = (contiguous(residual), contiguous(weight));
    let (residual, weight) = (residual.elements::<E>(), weight.elements::<E>());
    let (mut y, mut rstd) = (unwritten::<E>(rows * width), unwritten::<E>(rows));
    let mut into = |x: Option<&[E]>, sum: &mut [MaybeUninit<E>]| {
        let per_share = rows_per_share(rows, 4 * rows * width);
        let inputs = (0..rows).step_by(per_share).zip(residual.chunks(per_share * width));
        let results = y.chunks_mut(per_share * width).zip(rstd.chunks_mut(per_share));
        let shares = inputs.zip(sum.chunks_mut(per_share * width)).zip(results);
        for_each_share(shares, |(((first, residual), sum), (y, rstd))| {
            vectorised(
                #[inline(always)]
                || {
                    let sums = sum.chunks_exact_mut(width).zip(residual.chunks_exact(width));
                    let results = y.chunks_exact_mut(width).zip(rstd);
                    for (row, ((sum, residual), (y, rstd))) in sums.zip(results).enumerate() {
                        let x = x.map(|x| &x[(first + row) * width..][..width]);
                        // SAFETY: without x, the sum's memory holds it.
                        let sum = unsafe { add_row(x, residual, sum) };
                        rstd.write(normalise_row(sum, weight, eps, y));
                    }
                },
            );
        });
    };
    let sum = match overwritable::<E>(&mut x) {
        Some(x_and_sum) => {
            // SAFETY: only sums are written.
            into(None, unsafe { writable(x_and_sum) });
            x
        }
        None => {
            let (x, mut sum) = (contiguous(x), unwritten(rows * width));
            into(Some(x.elements()), &mut sum);
            // SAFETY: the shares cover all rows, of which each has written all of its sum.
            unsafe { into_tensor(sum, [rows, width]) }
        }
    };
    // SAFETY: likewise of y and rstd.
    unsafe { (into_tensor(y, [rows, width]), sum, into_tensor(rstd, [rows])) }
}

/// x + residual, over x where there is none.
///
/// # Safety
/// Without x, `sum` is initialised.
#[inline(always)]
unsafe fn add_row<'a, E: Scalar>(
    x: Option<&[E]>,
    residual: &[E],
    sum: &'a mut [MaybeUninit<E>],
) -> &'a [E] {
    match x {
        Some(x) => {
            for ((sum, &x), &residual) in sum.iter_mut().zip(x).zip(residual) {
                sum.write(x + residual);
            }
        }
        None => {
            for (sum, &residual) in sum.iter_mut().zip(residual) {
                // SAFETY: initialised, as the caller says.
                sum.write(unsafe { sum.assume_init() } + residual);
            }
        }
    }
    // SAFETY: just written, all of it.
    unsafe { sum.assume_init_ref() }
}

/// y of one row, and its rstd.
#[inline(always)]
fn normalise_row<E: Scalar>(x: &[E], weight: &[E], eps: f64, y: &mut [MaybeUninit<E>]) -> E {
    let mean_square = dot(x, x) / E::narrow(x.len() as f64);
    let rstd = E::ONE / (mean_square + E::narrow(eps)).root();
    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
        y.write(x * rstd * weight);
    }
    rstd
}

fn gradients<E: Scalar>(
    x: FlexTensor,
    weight: FlexTensor,
    rstd: FlexTensor,
    mut dy: FlexTensor,
) -> (FlexTensor, FlexTensor) {
    let [rows, width] = x.shape().dims();
    let (x, weight, rstd) = (contiguous(x), contiguous(weight), contiguous(rstd));
    let (x, weight, rstd) = (x.elements::<E>(), weight.elements::<E>(), rstd.elements::<E>());
    let mut partial = vec![E::ZERO; rows.div_ceil(BLOCK_ROWS).max(1) * width]; // of dweight
    let mut into = |dy: Option<&[E]>, dx: &mut [MaybeUninit<E>]| {
        let per_share = rows_per_share(rows.div_ceil(BLOCK_ROWS), 3 * rows * width); // blocks
        let share_rows = per_share * BLOCK_ROWS;
        let inputs = (0..rows).step_by(share_rows).zip(x.chunks(share_rows * width));
        let results = dx.chunks_mut(share_rows * width).zip(partial.chunks_mut(per_share * width));
        let shares = inputs.zip(rstd.chunks(share_rows)).zip(results);
        for_each_share(shares, |(((first, x), rstd), (dx, partial))| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(width).zip(rstd).zip(dx.chunks_exact_mut(width));
                    for (row, ((x, &rstd), dx)) in rows.enumerate() {
                        let dy = dy.map(|dy| &dy[(first + row) * width..][..width]);
                        let dweight = &mut partial[row / BLOCK_ROWS * width..][..width];
                        // SAFETY: without dy, the memory of dx holds it.
                        unsafe { backward_row(x, weight, rstd, dy, dx, dweight) };
                    }
                },
            );
        });
    };
    let dx = match overwritable::<E>(&mut dy) {
        Some(dy_and_dx) => {
            // SAFETY: only gradients are written.
            into(None, unsafe { writable(dy_and_dx) });
            dy
        }
        None => {
            let (dy, mut dx) = (contiguous(dy), unwritten(rows * width));
            into(Some(dy.elements()), &mut dx);
            // SAFETY: the shares cover all rows, of which each has written all of its dx.
            unsafe { into_tensor(dx, [rows, width]) }
        }
    };
    let (dweight, blocks) = partial.split_at_mut(width);
    vectorised(
        #[inline(always)]
        || {
            for block in blocks.chunks_exact(width) {
                for (sum, &block) in dweight.iter_mut().zip(block) {
                    *sum = *sum + block;
                }
            }
        },
    );
    partial.truncate(width);
    (dx, E::tensor(partial, [width].into()))
}

/// dx of one row, over dy where there is none, and its share of dweight.
///
/// # Safety
/// Without dy, `dx` is initialised.
#[inline(always)]
unsafe fn backward_row<E: Scalar>(
    x: &[E],
    weight: &[E],
    rstd: E,
    dy: Option<&[E]>,
    dx: &mut [MaybeUninit<E>],
    dweight: &mut [E],
) {
    if let Some(dy) = dy {
        dx.write_copy_of_slice(dy);
    }
    // SAFETY: just written, or initialised as the caller says.
    let dx = unsafe { dx.assume_init_mut() };
    // x and dw take part in the same pass; dx becomes g on the way.
    for (((dx, &x), &weight), dweight) in dx.iter_mut().zip(x).zip(weight).zip(dweight) {
        *dweight = *dweight + *dx * (x * rstd);
        *dx = *dx * weight;
    }
    let projection = dot(dx, x) * rstd / E::narrow(x.len() as f64); // mean(g · x̂)
    for (dx, &x) in dx.iter_mut().zip(x) {
        *dx = (*dx - x * rstd * projection) * rstd;
    }
}
