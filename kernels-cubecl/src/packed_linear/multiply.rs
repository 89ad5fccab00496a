//! x·Wᵀ on the cores of the host.
//!
//! For few rows of x the product is bound by reading W: each core takes a share of W's rows and makes
//! f32 of some hundred elements at a time, which stay in its registers and first cache. For many rows of
//! x it is bound by arithmetic: a panel of W is made f32 once and handed to the `gemm` crate.

use gemm::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

use super::format::Format;
use super::matrix::{PackedMatrix, PackedRows};

/// Up to so many rows of x, unpacking W again for each row of x costs less than a panel in memory.
const FEW_ROWS: usize = 4;

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
    let target = Target { y: y.as_mut_ptr(), outputs };
    let mut first = 0;
    for part in weight.parts() {
        // Three tasks a thread even out what one of them loses to other programs.
        let tasks = 3 * rayon::current_num_threads();
        let task_rows = match rows <= FEW_ROWS {
            true => part.rows.div_ceil(tasks).max(1),
            false => PANEL_ROWS,
        };
        (0..part.rows.div_ceil(task_rows)).into_par_iter().for_each(|task| {
            let start = task * task_rows;
            let end = (start + task_rows).min(part.rows);
            // SAFETY: tasks of a part are disjoint ranges of its rows, and parts follow each other, so
            // that no two tasks write the same columns of y; y outlives the loop.
            unsafe { target.fill(x, part, start..end, first + start, columns) };
        });
        first += part.rows;
    }
    y
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
        range: std::ops::Range<usize>,
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
        for (offset, row) in range.enumerate() {
            let mut sums = [0.0; FEW_ROWS];
            dot(part.format, part.row(row, columns), x, &mut sums[..rows]);
            for (x_row, sum) in sums[..rows].iter().enumerate() {
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
    Arch::new().dispatch(
        #[inline(always)]
        || format.dequantize(row, out),
    );
}

/// The products of one row of W with each row of x `[sums.len(), columns]`.
fn dot(format: Format, row: &[u8], x: &[f32], sums: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let columns = x.len() / sums.len();
            let chunk_bytes = format.row_bytes(CHUNK).expect("a chunk is whole blocks");
            let mut values = [0.0; CHUNK];
            let mut partial = [[0.0; LANES]; FEW_ROWS];
            for (chunk, bytes) in row.chunks(chunk_bytes).enumerate() {
                let start = chunk * CHUNK;
                let values = &mut values[..CHUNK.min(columns - start)];
                format.dequantize(bytes, values);
                for (x_row, partial) in partial[..sums.len()].iter_mut().enumerate() {
                    let x = &x[x_row * columns + start..][..values.len()];
                    add_products(values, x, partial);
                }
            }
            for (sum, partial) in sums.iter_mut().zip(&partial) {
                *sum = partial.iter().sum();
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
