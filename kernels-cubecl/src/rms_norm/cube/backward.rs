//! The gradient of RMSNorm.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{MOST_KEPT, Walk};
use crate::cube::{
    RowUnits, elem, empty, most_units, reads, row_plan, row_sum, shares_memory, statistics_elem,
};
use crate::precision::statistics_dtype;

/// → (dx `[R, D]`, dweight `[D]`). Each cube sums dweight over its own rows; a second kernel sums over
/// the cubes, in their order.
pub(crate) fn backward(
    x: CubeTensor,
    weight: CubeTensor,
    rstd: CubeTensor,
    dy: CubeTensor,
) -> (CubeTensor, CubeTensor) {
    let [rows, width] = x.shape().dims();
    let (x, weight, dy) = (reads(x), reads(weight), reads(dy));
    let (client, dtype) = (x.client.clone(), x.dtype);
    let statistics = statistics_dtype(dtype);
    let dx = empty(&x, [rows, width], dtype);
    let plan = row_plan(&client, "rms_norm_backward", dtype, width, false);
    let walk = Walk::new(width, plan.vector, plan.row.units);
    let keep = walk.per_unit * plan.vector <= MOST_KEPT;
    let cores = client.properties().hardware.num_streaming_multiprocessors.unwrap_or(8);
    let lanes = (plan.row.rows as usize) * (cores * plan.repeat) as usize;
    let cubes = rows.min(lanes).max(1).div_ceil(plan.row.rows as usize);
    let per_cube = rows.div_ceil(cubes);
    let partial = empty(&x, [cubes, width], statistics);
    let dweight = empty(&x, [width], weight.dtype);
    let dtypes = [elem(dtype), statistics_elem(dtype), elem(weight.dtype)];
    let address = x.required_address_type();
    // SAFETY: rows are below `rows`, cubes below `cubes`; both kernels compare before they touch memory.
    unsafe {
        rms_norm_backward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(cubes as u32, 1, 1),
            plan.cube_dim(),
            address,
            plan.vector,
            x.into_buffer_arg(),
            weight.into_buffer_arg(),
            rstd.into_buffer_arg(),
            dy.into_buffer_arg(),
            dx.clone().into_buffer_arg(),
            partial.clone().into_buffer_arg(),
            rows,
            per_cube,
            width,
            walk,
            plan.row,
            keep,
            dtypes,
        );
        // Few columns: the sum of one is shared by several units, as many as the device lets meet.
        let most = if shares_memory(&client) { most_units(&client) } else { 1 };
        let columns = most.min(32);
        let slices = (most / columns).min(32);
        sum_over_cubes_kernel::launch_unchecked(
            &client,
            CubeCount::Static(width.div_ceil(columns as usize) as u32, 1, 1),
            CubeDim::new_2d(columns, slices),
            partial.required_address_type(),
            partial.into_buffer_arg(),
            dweight.clone().into_buffer_arg(),
            cubes,
            width,
            columns,
            slices,
            [dtypes[1], dtypes[2]],
        );
    }
    (dx, dweight)
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn rms_norm_backward_kernel<F: Float, A: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<W, N>],
    rstd: &[A],
    dy: &[Vector<F, N>],
    dx: &mut [Vector<F, N>],
    partial: &mut [Vector<A, N>],
    rows: usize,
    per_cube: usize,
    #[comptime] width: usize,
    #[comptime] walk: Walk,
    #[comptime] row: RowUnits,
    #[comptime] keep: bool,
    #[define(F, A, W)] _dtypes: [ElemType; 3],
) {
    // A row too wide for registers keeps its sums in memory.
    let kept = comptime!(if keep { walk.per_unit } else { 1 });
    let mut dweight = Array::<Vector<A, N>>::new(kept);
    #[unroll(keep)]
    for i in 0..walk.per_unit {
        if comptime!(keep) {
            dweight[i] = Vector::zeroed();
        } else {
            let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
            if comptime!(walk.exact) || at < walk.vectors {
                partial[CUBE_POS * walk.vectors + at] = Vector::zeroed();
            }
        }
    }
    let mut normed = Array::<Vector<A, N>>::new(kept);
    let mut scaled = Array::<Vector<A, N>>::new(kept);
    for step in 0..per_cube {
        // All cubes take one row in turn, so that neighbours in memory are read at one time.
        let own = step * CUBE_COUNT + CUBE_POS;
        if own < rows {
            let first = own * walk.vectors;
            let scale = Vector::<A, N>::new(rstd[own]);
            let mut products = Vector::<A, N>::zeroed();
            #[unroll(keep)]
            for i in 0..walk.per_unit {
                let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
                if comptime!(walk.exact) || at < walk.vectors {
                    let x_hat = Vector::<A, N>::cast_from(x[first + at]) * scale;
                    let dy = Vector::<A, N>::cast_from(dy[first + at]);
                    let g = dy * Vector::<A, N>::cast_from(weight[at]);
                    products += g * x_hat;
                    if comptime!(keep) {
                        dweight[i] += dy * x_hat;
                        normed[i] = x_hat;
                        scaled[i] = g;
                    } else {
                        partial[CUBE_POS * walk.vectors + at] += dy * x_hat;
                    }
                }
            }
            let sum = row_sum::<A>(products.vector_sum(), row);
            let mean = Vector::<A, N>::new(sum / A::cast_from(width));
            #[unroll(keep)]
            for i in 0..walk.per_unit {
                let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
                if comptime!(walk.exact) || at < walk.vectors {
                    if comptime!(keep) {
                        dx[first + at] = Vector::cast_from(scale * (scaled[i] - normed[i] * mean));
                    } else {
                        let x_hat = Vector::<A, N>::cast_from(x[first + at]) * scale;
                        let dy = Vector::<A, N>::cast_from(dy[first + at]);
                        let g = dy * Vector::<A, N>::cast_from(weight[at]);
                        dx[first + at] = Vector::cast_from(scale * (g - x_hat * mean));
                    }
                }
            }
        }
    }
    if comptime!(keep) {
        #[unroll]
        for i in 0..walk.per_unit {
            let at = i * comptime!(row.units as usize) + UNIT_POS_X as usize;
            if comptime!(walk.exact) || at < walk.vectors {
                partial[CUBE_POS * walk.vectors + at] = dweight[i];
            }
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_over_cubes_kernel<A: Float, W: Float>(
    partial: &[A],
    dweight: &mut [W],
    cubes: usize,
    #[comptime] width: usize,
    #[comptime] columns: u32,
    #[comptime] slices: u32,
    #[define(A, W)] _dtypes: [ElemType; 2],
) {
    let column = CUBE_POS * comptime!(columns as usize) + UNIT_POS_X as usize;
    let mut sum = A::from_int(0);
    if column < width {
        let mut cube = UNIT_POS_Y as usize;
        while cube < cubes {
            sum += partial[cube * width + column];
            cube += comptime!(slices as usize);
        }
    }
    if comptime!(slices > 1) {
        let mut sums = Shared::<[A]>::new_slice(comptime!((columns * slices) as usize));
        sums[UNIT_POS as usize] = sum;
        sync_cube();
        if UNIT_POS_Y == 0 {
            #[unroll]
            for slice in 1..comptime!(slices as usize) {
                sum += sums[slice * comptime!(columns as usize) + UNIT_POS_X as usize];
            }
        }
    }
    if UNIT_POS_Y == 0 && column < width {
        dweight[column] = W::cast_from(sum);
    }
}
