//! The embedding as CubeCL kernels. Backward, one cube per row of the table walks over the ids, until it has
//! found as many of its own as counting found, and adds their rows in their order.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{
    UnitPlan, cube_count, elem, empty, reads, shares_memory, statistics_elem, unit_plan,
};

/// Vectors of a unit's share of a row that are worth code of their own.
const MOST_UNROLLED: usize = 16;

/// How a cube walks over the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Walk {
    /// Units of the cube.
    units: u32,
    /// Neighbouring ids that a unit looks at in one step.
    per_unit: u32,
    /// Whether units share what they find; else each looks at every id.
    shared: bool,
}

/// weight `[V, D]`, ids `[R]` → `[R, D]`.
pub(crate) fn forward(weight: CubeTensor, ids: CubeTensor) -> CubeTensor {
    let ([_, width], [rows]) = (weight.shape().dims(), ids.shape().dims());
    let (weight, ids) = (reads(weight), reads(ids));
    let (client, dtype) = (weight.client.clone(), weight.dtype);
    let y = empty(&weight, [rows, width], dtype);
    if rows * width == 0 {
        return y;
    }
    let plan = unit_plan(&client, "embedding", dtype, width);
    let UnitPlan { vector, repeat, .. } = plan;
    let per_row = width / vector;
    // SAFETY: `at` is below the vectors of y; ids are below V, as the caller promises.
    unsafe {
        embedding_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, rows * per_row),
            plan.cube_dim(),
            weight.required_address_type().max(y.required_address_type()),
            vector,
            weight.into_buffer_arg(),
            ids.clone().into_buffer_arg(),
            y.clone().into_buffer_arg(),
            rows * per_row,
            per_row,
            repeat,
            [elem(dtype), elem(ids.dtype)],
        );
    }
    y
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn embedding_kernel<F: Float, I: Int, N: Size>(
    weight: &[Vector<F, N>],
    ids: &[I],
    y: &mut [Vector<F, N>],
    vectors: usize,
    #[comptime] per_row: usize,
    #[comptime] repeat: u32,
    #[define(F, I)] _dtypes: [ElemType; 2],
) {
    let first = CUBE_POS * CUBE_DIM as usize * comptime!(repeat as usize) + UNIT_POS as usize;
    #[unroll]
    for i in 0..comptime!(repeat as usize) {
        let at = first + i * CUBE_DIM as usize;
        if at < vectors {
            let row = usize::cast_from(ids[at / per_row]);
            y[at] = weight[row * per_row + at % per_row];
        }
    }
}

/// ids `[R]`, dy `[R, D]` → `[V, D]`.
pub(crate) fn backward(ids: CubeTensor, dy: CubeTensor, vocab_size: usize) -> CubeTensor {
    let [rows, width] = dy.shape().dims();
    let (ids, dy) = (reads(ids), reads(dy));
    let (client, dtype) = (dy.client.clone(), dy.dtype);
    let dweight = empty(&dy, [vocab_size, width], dtype);
    let UnitPlan { vector, units, .. } = unit_plan(&client, "embedding", dtype, width);
    let walk = Walk { units, per_unit: 4, shared: shares_memory(&client) && units > 1 };
    let counts = empty(&dy, [vocab_size], DType::U32);
    // SAFETY: `at` is compared with the number of counts and of ids, ids are below V.
    unsafe {
        zero_kernel::launch_unchecked(
            &client,
            cube_count(&client, vocab_size.div_ceil(units as usize)),
            CubeDim::new_1d(units),
            counts.clone().into_buffer_arg(),
            vocab_size,
        );
        if rows > 0 {
            count_kernel::launch_unchecked(
                &client,
                cube_count(&client, rows.div_ceil(units as usize)),
                CubeDim::new_1d(units),
                ids.clone().into_buffer_arg(),
                counts.clone().into_buffer_arg(),
                rows,
                elem(ids.dtype),
            );
        }
        embedding_backward_kernel::launch_unchecked(
            &client,
            cube_count(&client, vocab_size),
            CubeDim::new_1d(units),
            dy.required_address_type().max(dweight.required_address_type()),
            vector,
            ids.clone().into_buffer_arg(),
            counts.into_buffer_arg(),
            dy.into_buffer_arg(),
            dweight.clone().into_buffer_arg(),
            rows,
            vocab_size,
            width / vector,
            walk,
            [elem(dtype), statistics_elem(dtype), elem(ids.dtype)],
        );
    }
    dweight
}

#[cube(launch_unchecked)]
fn zero_kernel(counts: &mut [u32], len: usize) {
    if ABSOLUTE_POS < len {
        counts[ABSOLUTE_POS] = 0;
    }
}

#[cube(launch_unchecked)]
fn count_kernel<I: Int>(
    ids: &[I],
    counts: &[Atomic<u32>],
    rows: usize,
    #[define(I)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < rows {
        counts[usize::cast_from(ids[ABSOLUTE_POS])].fetch_add(1u32);
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn embedding_backward_kernel<F: Float, A: Float, I: Int, N: Size>(
    ids: &[I],
    counts: &[u32],
    dy: &[Vector<F, N>],
    dweight: &mut [Vector<F, N>],
    rows: usize,
    vocab_size: usize,
    #[comptime] per_row: usize,
    #[comptime] walk: Walk,
    #[define(F, A, I)] _dtypes: [ElemType; 3],
) {
    let units = comptime!(walk.units as usize);
    let per_unit = comptime!(walk.per_unit as usize);
    let columns = comptime!(per_row.div_ceil(walk.units as usize));
    let id = CUBE_POS.min(vocab_size - 1);
    let mut sums = Array::<Vector<A, N>>::new(columns);
    #[unroll(columns <= MOST_UNROLLED)]
    for i in 0..columns {
        sums[i] = Vector::zeroed();
    }
    // The count is the same for all units of a cube, so that they reach the barriers together.
    let mut left = counts[id];
    let mut start = 0usize;
    if comptime!(walk.shared) {
        let mut found = Shared::<[u32]>::new_slice(units);
        let any = Shared::<[Atomic<u32>]>::new_slice(1usize);
        while left > 0 {
            if UNIT_POS == 0 {
                any[0].store(0u32);
            }
            let own = start + UNIT_POS as usize * per_unit;
            let mut of_unit = 0u32;
            #[unroll]
            for i in 0..per_unit {
                if own + i < rows && usize::cast_from(ids[(own + i).min(rows - 1)]) == id {
                    of_unit += 1;
                }
            }
            found[UNIT_POS as usize] = of_unit;
            sync_cube();
            if of_unit > 0 {
                any[0].fetch_add(of_unit);
            }
            sync_cube();
            let mut of_block = any[0].load();
            left -= of_block;
            let mut unit = 0usize;
            while of_block > 0 {
                if found[unit] > 0 {
                    of_block -= found[unit];
                    for i in 0..per_unit {
                        let row = start + unit * per_unit + i;
                        if row < rows && usize::cast_from(ids[row.min(rows - 1)]) == id {
                            add_row::<F, A, N>(dy, &mut sums, row, per_row, walk);
                        }
                    }
                }
                unit += 1;
            }
            sync_cube();
            start += units * per_unit;
        }
    } else {
        while left > 0 {
            if usize::cast_from(ids[start]) == id {
                left -= 1;
                add_row::<F, A, N>(dy, &mut sums, start, per_row, walk);
            }
            start += 1;
        }
    }
    if CUBE_POS < vocab_size {
        #[unroll(columns <= MOST_UNROLLED)]
        for i in 0..columns {
            let column = i * units + UNIT_POS as usize;
            if column < per_row {
                dweight[id * per_row + column] = Vector::cast_from(sums[i]);
            }
        }
    }
}

#[cube]
fn add_row<F: Float, A: Float, N: Size>(
    dy: &[Vector<F, N>],
    sums: &mut Array<Vector<A, N>>,
    row: usize,
    #[comptime] per_row: usize,
    #[comptime] walk: Walk,
) {
    let columns = comptime!(per_row.div_ceil(walk.units as usize));
    #[unroll(columns <= MOST_UNROLLED)]
    for i in 0..columns {
        let column = i * comptime!(walk.units as usize) + UNIT_POS as usize;
        if column < per_row {
            sums[i] += Vector::cast_from(dy[row * per_row + column]);
        }
    }
}
