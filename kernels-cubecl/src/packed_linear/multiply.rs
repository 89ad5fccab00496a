//! x·Wᵀ on the cores of the host.
//!
//! For few rows of x the product is bound by reading W: each core takes a share of W's rows and makes
//! f32 of some hundred elements at a time, which stay in its registers and first cache. For many rows of
//! x it is bound by arithmetic: a panel of W is made f32 once and handed to the `gemm` crate.

#[cfg(test)]
mod tests;

use std::ops::Range;

use gemm::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::format::Format;
use super::matrix::{PackedMatrix, PackedRows};

/// Up to so many rows of x, unpacking W again for each row of x costs less than a panel in memory.
const FEW_ROWS: usize = 4;

/// Elements of W below which one core is done before another has woken: some 30 µs at 9 elements a
/// nanosecond.
const WORTH_WAKING: usize = 1 << 18;

/// Elements of W that are f32 at once for few rows of x: a multiple of every block, 2 KiB.
const CHUNK: usize = 512;

/// Sums that run side by side, so that additions need not wait for each other.
const LANES: usize = 32;

/// Rows of W in one panel for many rows of x: 32 rows of some thousand f32 fit in the second cache.
const PANEL_ROWS: usize = 32;

/// x `[R, columns]` → y `[R, rows]`.
pub(super) fn multiply(x: &[f32], weight: &PackedMatrix) -> Vec<f32> {
    let (columns, outputs) = (weight.columns(), weight.rows());
    let rows = x.len() / columns;
    let mut y = vec![0.0; rows * outputs];
    if y.is_empty() {
        return y;
    }
    let target = Target { y: y.as_mut_ptr(), outputs };
    let fill = |Task { part, range, column }: Task<'_>| {
        // SAFETY: tasks are disjoint ranges of the matrix' rows, so that no two of them write the same
        // columns of y; y outlives them.
        unsafe { target.fill(x, part, range, column, columns) };
    };
    if rows > FEW_ROWS {
        tasks(weight, PANEL_ROWS).into_par_iter().for_each(fill);
        return y;
    }
    // One share for each core, this thread's included: waking more threads than that, or waiting for
    // them to do all of it, takes longer than a small matrix does.
    let cores = match outputs * columns < WORTH_WAKING {
        true => 1,
        false => rayon::current_num_threads(),
    };
    let mut shares = tasks(weight, outputs.div_ceil(cores)).into_iter();
    if cores == 1 {
        shares.for_each(fill);
        return y;
    }
    let own = shares.next();
    rayon::in_place_scope(|scope| {
        shares.for_each(|share| scope.spawn(move |_| fill(share)));
        own.into_iter().for_each(fill);
    });
    y
}

/// Consecutive rows of one part, and the column of y that the first of them computes.
struct Task<'a> {
    part: &'a PackedRows,
    range: Range<usize>,
    column: usize,
}

/// The rows of a matrix in tasks of at most `most` rows.
fn tasks(weight: &PackedMatrix, most: usize) -> Vec<Task<'_>> {
    let mut tasks = Vec::new();
    let mut first = 0;
    for part in weight.parts() {
        for start in (0..part.rows).step_by(most) {
            let range = start..(start + most).min(part.rows);
            tasks.push(Task { part, range, column: first + start });
        }
        first += part.rows;
    }
    tasks
}

/// y `[R, outputs]`, of which every task writes columns of its own.
#[derive(Clone, Copy)]
struct Target {
    y: *mut f32,
    outputs: usize,
}

// SAFETY: the pointer is used for disjoint columns only, as `fill` demands.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// Multiplies x by rows `range` of `part` into the columns of y from `column` on.
    ///
    /// # Safety
    /// y has `x.len() / columns` rows of `outputs`, of which nobody else touches these columns.
    unsafe fn fill(
        self,
        x: &[f32],
        part: &PackedRows,
        range: Range<usize>,
        column: usize,
        columns: usize,
    ) {
        let rows = x.len() / columns;
        if rows > FEW_ROWS {
            let mut panel = vec![0.0; range.len() * columns];
            let first = range.start;
            for (row, out) in panel.chunks_exact_mut(columns).enumerate() {
                unpack(part.format, part.row(first + row, columns), out);
            }
            // SAFETY: y[r, column + w] for r < rows, w < range.len() lies in y; x and the panel have
            // `columns` elements for each r and w.
            unsafe { self.product(x, &panel, column, columns) };
            return;
        }
        let mut sums = vec![0.0; range.len() * rows];
        dot(part, range, x, &mut sums);
        for (offset, sums) in sums.chunks_exact(rows).enumerate() {
            for (x_row, sum) in sums.iter().enumerate() {
                // SAFETY: row x_row < rows and column + offset < outputs.
                unsafe { *self.y.add(x_row * self.outputs + column + offset) = *sum };
            }
        }
    }

    /// y[.., column..] = x·panelᵀ.
    ///
    /// # Safety
    /// As [`Target::fill`].
    unsafe fn product(self, x: &[f32], panel: &[f32], column: usize, columns: usize) {
        let (rows, width) = (x.len() / columns, panel.len() / columns);
        // SAFETY: the strides describe x [rows, columns], panelᵀ [columns, width] and a block of y
        // [rows, outputs], all within their allocations.
        unsafe {
            gemm::gemm(
                rows,
                width,
                columns,
                self.y.add(column),
                1,
                self.outputs as isize,
                false,
                x.as_ptr(),
                1,
                columns as isize,
                panel.as_ptr(),
                columns as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// One row of W to f32, in the machine's widest instructions.
fn unpack(format: Format, row: &[u8], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if out.len().is_multiple_of(32) && avx2::is_available(format) {
        // SAFETY: just asked; `row` has the elements of `out`, whole steps of 32.
        return unsafe { avx2::unpack(format, row, out) };
    }
    Arch::new().dispatch(
        #[inline(always)]
        || format.dequantize(row, out),
    );
}

/// The products of each row of W in `range` with each of R rows of x: sums `[range.len(), R]`.
fn dot(part: &PackedRows, range: Range<usize>, x: &[f32], sums: &mut [f32]) {
    let rows = sums.len() / range.len();
    #[cfg(target_arch = "x86_64")]
    if (x.len() / rows).is_multiple_of(32) && avx2::is_available(part.format) {
        match rows {
            1 => dot_avx2::<1>(part, range, x, sums),
            2 => dot_avx2::<2>(part, range, x, sums),
            3 => dot_avx2::<3>(part, range, x, sums),
            4 => dot_avx2::<4>(part, range, x, sums),
            more => unreachable!("{more} rows of x are not few"),
        }
        return;
    }
    dot_portable(part, range, x, sums);
}

#[cfg(target_arch = "x86_64")]
fn dot_avx2<const R: usize>(part: &PackedRows, range: Range<usize>, x: &[f32], sums: &mut [f32]) {
    let columns = x.len() / R;
    for (row, sums) in range.zip(sums.as_chunks_mut::<R>().0) {
        // SAFETY: `dot` has asked for the instructions; rows of W and x have `columns` elements.
        *sums = unsafe { avx2::dot::<R>(part.format, part.row(row, columns), x, columns) };
    }
}

/// As [`dot`], through a chunk of f32.
fn dot_portable(part: &PackedRows, range: Range<usize>, x: &[f32], sums: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = sums.len() / range.len();
            let columns = x.len() / rows;
            let chunk_bytes = part.format.row_bytes(CHUNK).expect("a chunk is whole blocks");
            let mut values = [0.0; CHUNK];
            for (row, sums) in range.zip(sums.chunks_exact_mut(rows)) {
                let mut partial = [[0.0; LANES]; FEW_ROWS];
                for (chunk, bytes) in part.row(row, columns).chunks(chunk_bytes).enumerate() {
                    let start = chunk * CHUNK;
                    let values = &mut values[..CHUNK.min(columns - start)];
                    part.format.dequantize(bytes, values);
                    for (x_row, partial) in partial[..rows].iter_mut().enumerate() {
                        let x = &x[x_row * columns + start..][..values.len()];
                        add_products(values, x, partial);
                    }
                }
                for (sum, partial) in sums.iter_mut().zip(&partial) {
                    *sum = partial.iter().sum();
                }
            }
        },
    );
}

/// partial[l] += Σ values[k]·x[k] over the k that are l modulo [`LANES`].
#[inline(always)]
fn add_products(values: &[f32], x: &[f32], partial: &mut [f32; LANES]) {
    let ((values, value_rest), (x, x_rest)) = (values.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    for (values, x) in values.iter().zip(x) {
        for lane in 0..LANES {
            partial[lane] += values[lane] * x[lane];
        }
    }
    for (lane, (value, x)) in value_rest.iter().zip(x_rest).enumerate() {
        partial[lane] += value * x;
    }
}
