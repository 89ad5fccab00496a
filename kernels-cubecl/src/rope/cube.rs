//! RoPE as a CubeCL kernel, in place: only the heads that rotate are read and written.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{UnitPlan, elem, reads, statistics_elem, unit_plan, writable};

/// Sizes in vectors, and what they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sizes {
    /// Vectors of half a head.
    half: usize,
    /// Heads of a token.
    heads: usize,
    /// Heads of a token that rotate.
    rotated: usize,
    /// Whether every sequence has an offset of its own.
    offset_each: bool,
    inverse: bool,
    repeat: u32,
}

/// x `[B, T, heads, H]`, tables `[P, H/2]`, offsets `[1 or B]` → like x.
pub(crate) fn forward(
    x: CubeTensor,
    cos: CubeTensor,
    sin: CubeTensor,
    offsets: CubeTensor,
    rotated: usize,
    inverse: bool,
) -> CubeTensor {
    let [batch, length, heads, head_dim] = x.shape().dims();
    let x = writable(x);
    let half = head_dim / 2;
    let (client, dtype) = (x.client.clone(), x.dtype);
    let plan = unit_plan(&client, "rope", dtype, half);
    let UnitPlan { vector, repeat, .. } = plan;
    let pairs = batch * length * rotated * (half / vector);
    if pairs == 0 {
        return x;
    }
    let sizes = Sizes {
        half: half / vector,
        heads,
        rotated,
        offset_each: offsets.shape()[0] > 1,
        inverse,
        repeat,
    };
    let dtypes = [elem(dtype), statistics_elem(dtype), elem(cos.dtype), elem(offsets.dtype)];
    // SAFETY: `at` is below `pairs`; tables have a row for every position, as the caller promises.
    unsafe {
        rope_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, pairs),
            plan.cube_dim(),
            x.required_address_type(),
            vector,
            x.clone().into_buffer_arg(),
            reads(cos).into_buffer_arg(),
            reads(sin).into_buffer_arg(),
            offsets.into_buffer_arg(),
            pairs,
            length,
            sizes,
            dtypes,
        );
    }
    x
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn rope_kernel<F: Float, A: Float, C: Float, I: Int, N: Size>(
    x: &mut [Vector<F, N>],
    cos: &[Vector<C, N>],
    sin: &[Vector<C, N>],
    offsets: &[I],
    pairs: usize,
    length: usize,
    #[comptime] sizes: Sizes,
    #[define(F, A, C, I)] _dtypes: [ElemType; 4],
) {
    let repeat = comptime!(sizes.repeat as usize);
    let first = CUBE_POS * CUBE_DIM as usize * repeat + UNIT_POS as usize;
    #[unroll]
    for i in 0..repeat {
        let at = first + i * CUBE_DIM as usize;
        if at < pairs {
            let in_half = at % sizes.half;
            let head = at / sizes.half % sizes.rotated;
            let token = at / comptime!(sizes.half * sizes.rotated);
            let mut sequence = 0usize.runtime();
            if comptime!(sizes.offset_each) {
                sequence = token / length;
            }
            let position = usize::cast_from(offsets[sequence]) + token % length;
            let cos = Vector::<A, N>::cast_from(cos[position * sizes.half + in_half]);
            let mut sin = Vector::<A, N>::cast_from(sin[position * sizes.half + in_half]);
            if comptime!(sizes.inverse) {
                sin = -sin;
            }
            let lower = (token * sizes.heads + head) * comptime!(2 * sizes.half) + in_half;
            let a = Vector::<A, N>::cast_from(x[lower]);
            let b = Vector::<A, N>::cast_from(x[lower + sizes.half]);
            x[lower] = Vector::cast_from(a * cos - b * sin);
            x[lower + sizes.half] = Vector::cast_from(a * sin + b * cos);
        }
    }
}
