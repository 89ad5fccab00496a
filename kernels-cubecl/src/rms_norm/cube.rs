//! RMSNorm as CubeCL kernels: forward one pass over memory, backward one and a small sum.

mod backward;

pub(crate) use backward::backward;

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{RowUnits, elem, empty, reads, row_plan, row_sum, statistics_elem};
use crate::precision::statistics_dtype;

/// A row is kept in registers up to this many elements per unit, else read twice.
const MOST_KEPT: usize = 64;

/// The place of a row's vectors among its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Walk {
    /// Vectors of a row.
    vectors: usize,
    /// Vectors of a unit.
    per_unit: usize,
    /// Whether every unit has exactly that many.
    exact: bool,
}

impl Walk {
    fn new(width: usize, vector: usize, units: u32) -> Self {
        let vectors = width / vector;
        let per_unit = vectors.div_ceil(units as usize);
        Self { vectors, per_unit, exact: vectors == per_unit * units as usize }
    }
}

/// x `[R, D]`, weight `[D]` → (y `[R, D]`, rstd `[R]`).
pub(crate) fn forward(x: CubeTensor, weight: CubeTensor, eps: f64) -> (CubeTensor, CubeTensor) {
    let (y, _, rstd) = launch_forward(x, None, weight, eps);
    (y, rstd)
}

/// x, residual `[R, D]` → (y, sum `[R, D]`, rstd `[R]`).
pub(crate) fn add_forward(
    x: CubeTensor,
    residual: CubeTensor,
    weight: CubeTensor,
    eps: f64,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (y, sum, rstd) = launch_forward(x, Some(residual), weight, eps);
    (y, sum.expect("there is a residual"), rstd)
}

fn launch_forward(
    x: CubeTensor,
    residual: Option<CubeTensor>,
    weight: CubeTensor,
    eps: f64,
) -> (CubeTensor, Option<CubeTensor>, CubeTensor) {
    let [rows, width] = x.shape().dims();
    let (x, weight) = (reads(x), reads(weight));
    let (client, dtype) = (x.client.clone(), x.dtype);
    let kernel = if residual.is_some() { "add_rms_norm" } else { "rms_norm" };
    let y = empty(&x, [rows, width], dtype);
    let rstd = empty(&x, [rows], statistics_dtype(dtype));
    let sum = residual.is_some().then(|| empty(&x, [rows, width], dtype));
    if rows * width == 0 {
        return (y, sum, rstd);
    }
    let plan = row_plan(&client, kernel, dtype, width, true);
    let walk = Walk::new(width, plan.vector, plan.row.units);
    let keep = walk.per_unit * plan.vector <= MOST_KEPT;
    let dtypes = [elem(dtype), statistics_elem(dtype), elem(weight.dtype)];
    let address = x.required_address_type();
    let eps = InputScalar::new(eps, dtypes[1]);
    let (count, dim) = (plan.cube_count(&client, rows), plan.cube_dim());
    // SAFETY: every index is below rows · vectors of a row, the length of the buffers.
    unsafe {
        match (residual, &sum) {
            (Some(residual), Some(sum)) => add_rms_norm_kernel::launch_unchecked(
                &client,
                count,
                dim,
                address,
                plan.vector,
                x.into_buffer_arg(),
                reads(residual).into_buffer_arg(),
                weight.into_buffer_arg(),
                y.clone().into_buffer_arg(),
                sum.clone().into_buffer_arg(),
                rstd.clone().into_buffer_arg(),
                eps,
                rows,
                width,
                walk,
                plan.row,
                keep,
                dtypes,
            ),
            _ => rms_norm_kernel::launch_unchecked(
                &client,
                count,
                dim,
                address,
                plan.vector,
                x.into_buffer_arg(),
                weight.into_buffer_arg(),
                y.clone().into_buffer_arg(),
                rstd.clone().into_buffer_arg(),
                eps,
                rows,
                width,
                walk,
                plan.row,
                keep,
                dtypes,
            ),
        }
    }
    (y, sum, rstd)
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn rms_norm_kernel<F: Float, A: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<W, N>],
    y: &mut [Vector<F, N>],
    rstd: &mut [A],
    eps: InputScalar,
    rows: usize,
    #[comptime] width: usize,
    #[comptime] walk: Walk,
    #[comptime] row: RowUnits,
    #[comptime] keep: bool,
    #[define(F, A, W)] _dtypes: [ElemType; 3],
) {
    let own = CUBE_POS * comptime!(row.rows as usize) + UNIT_POS_Y as usize;
    // Idle rows at the end compute the last one again: all units must reach the reduction.
    let at_row = own.min(rows - 1);
    let first = at_row * walk.vectors;
    let mut kept = Array::<Vector<A, N>>::new(comptime!(if keep { walk.per_unit } else { 1 }));
    let mut squares = Vector::<A, N>::zeroed();
    #[unroll(keep)]
    for i in 0..walk.per_unit {
        let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
        if comptime!(walk.exact) || at < walk.vectors {
            let value = Vector::<A, N>::cast_from(x[first + at]);
            squares += value * value;
            if comptime!(keep) {
                kept[i] = value;
            }
        }
    }
    let sum = row_sum::<A>(squares.vector_sum(), row);
    let scale = (sum / A::cast_from(width) + eps.get::<A>()).inverse_sqrt();
    if own < rows {
        #[unroll(keep)]
        for i in 0..walk.per_unit {
            let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
            if comptime!(walk.exact) || at < walk.vectors {
                let value = if comptime!(keep) {
                    kept[i]
                } else {
                    Vector::<A, N>::cast_from(x[first + at])
                };
                let normed = value * Vector::new(scale) * Vector::<A, N>::cast_from(weight[at]);
                y[first + at] = Vector::cast_from(normed);
            }
        }
        if UNIT_POS_X == 0 {
            rstd[own] = scale;
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_rms_norm_kernel<F: Float, A: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    residual: &[Vector<F, N>],
    weight: &[Vector<W, N>],
    y: &mut [Vector<F, N>],
    sums: &mut [Vector<F, N>],
    rstd: &mut [A],
    eps: InputScalar,
    rows: usize,
    #[comptime] width: usize,
    #[comptime] walk: Walk,
    #[comptime] row: RowUnits,
    #[comptime] keep: bool,
    #[define(F, A, W)] _dtypes: [ElemType; 3],
) {
    let own = CUBE_POS * comptime!(row.rows as usize) + UNIT_POS_Y as usize;
    let at_row = own.min(rows - 1);
    let first = at_row * walk.vectors;
    let mut kept = Array::<Vector<A, N>>::new(comptime!(if keep { walk.per_unit } else { 1 }));
    let mut squares = Vector::<A, N>::zeroed();
    #[unroll(keep)]
    for i in 0..walk.per_unit {
        let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
        if comptime!(walk.exact) || at < walk.vectors {
            let sum = Vector::<A, N>::cast_from(x[first + at])
                + Vector::<A, N>::cast_from(residual[first + at]);
            // What is normalised is what the stream keeps: the rounded sum.
            let stored = Vector::<F, N>::cast_from(sum);
            let value = Vector::<A, N>::cast_from(stored);
            if own < rows {
                sums[first + at] = stored;
            }
            squares += value * value;
            if comptime!(keep) {
                kept[i] = value;
            }
        }
    }
    let sum = row_sum::<A>(squares.vector_sum(), row);
    let scale = (sum / A::cast_from(width) + eps.get::<A>()).inverse_sqrt();
    if own < rows {
        #[unroll(keep)]
        for i in 0..walk.per_unit {
            let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
            if comptime!(walk.exact) || at < walk.vectors {
                let value = if comptime!(keep) {
                    kept[i]
                } else {
                    Vector::<A, N>::cast_from(sums[first + at])
                };
                let normed = value * Vector::new(scale) * Vector::<A, N>::cast_from(weight[at]);
                y[first + at] = Vector::cast_from(normed);
            }
        }
        if UNIT_POS_X == 0 {
            rstd[own] = scale;
        }
    }
}
