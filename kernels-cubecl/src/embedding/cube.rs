//! The embedding as CubeCL kernels. Backward, one cube per row of the table walks over all ids and adds
//! the rows that are its own in their order; rows of the table that no id names are found by counting.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{UnitPlan, cube_count, elem, empty, reads, statistics_elem, unit_plan};

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
            units,
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
    #[comptime] units: u32,
    #[define(F, A, I)] _dtypes: [ElemType; 3],
) {
    let units = comptime!(units as usize);
    let id = CUBE_POS.min(vocab_size - 1);
    let mut of_block = Shared::<[u32]>::new_slice(units);
    let mut sums = Array::<Vector<A, N>>::new(comptime!(per_row.div_ceil(units)));
    #[unroll]
    for i in 0..comptime!(per_row.div_ceil(units)) {
        sums[i] = Vector::zeroed();
    }
    // The count is the same for all units of a cube, so that they reach the barriers together.
    let mut left = counts[id];
    let mut start = 0usize;
    while left > 0 {
        let own = start + UNIT_POS as usize;
        of_block[UNIT_POS as usize] =
            u32::cast_from(own < rows && usize::cast_from(ids[own.min(rows - 1)]) == id);
        sync_cube();
        for other in 0..units {
            if of_block[other] == 1 {
                left -= 1;
                #[unroll]
                for i in 0..comptime!(per_row.div_ceil(units)) {
                    let column = i * units + UNIT_POS as usize;
                    if column < per_row {
                        sums[i] += Vector::cast_from(dy[(start + other) * per_row + column]);
                    }
                }
            }
        }
        sync_cube();
        start += units;
    }
    if CUBE_POS < vocab_size {
        #[unroll]
        for i in 0..comptime!(per_row.div_ceil(units)) {
            let column = i * units + UNIT_POS as usize;
            if column < per_row {
                dweight[id * per_row + column] = Vector::cast_from(sums[i]);
            }
        }
    }
}
