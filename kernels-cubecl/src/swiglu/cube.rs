//! SwiGLU as CubeCL kernels; the backward pass computes the activation again instead of storing it.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{UnitPlan, elem, empty, reads, statistics_elem, unit_plan};

/// gate_up `[R, 2F]` → `[R, F]`.
pub(crate) fn forward(gate_up: CubeTensor) -> CubeTensor {
    let [rows, width] = gate_up.shape().dims();
    let half = width / 2;
    let gate_up = reads(gate_up);
    let (client, dtype) = (gate_up.client.clone(), gate_up.dtype);
    let y = empty(&gate_up, [rows, half], dtype);
    if rows * half == 0 {
        return y;
    }
    let plan = unit_plan(&client, "swiglu", dtype, half);
    let UnitPlan { vector, repeat, .. } = plan;
    let vectors = rows * (half / vector);
    // SAFETY: `at` is below `vectors`, the length of y; gate_up has twice as many.
    unsafe {
        swiglu_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, vectors),
            plan.cube_dim(),
            gate_up.required_address_type(),
            vector,
            gate_up.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            vectors,
            half / vector,
            repeat,
            [elem(dtype), statistics_elem(dtype)],
        );
    }
    y
}

/// gate_up `[R, 2F]`, dy `[R, F]` → dgate_up `[R, 2F]`.
pub(crate) fn backward(gate_up: CubeTensor, dy: CubeTensor) -> CubeTensor {
    let [rows, width] = gate_up.shape().dims();
    let half = width / 2;
    let (gate_up, dy) = (reads(gate_up), reads(dy));
    let (client, dtype) = (gate_up.client.clone(), gate_up.dtype);
    let dgate_up = empty(&gate_up, [rows, width], dtype);
    if rows * half == 0 {
        return dgate_up;
    }
    let plan = unit_plan(&client, "swiglu_backward", dtype, half);
    let UnitPlan { vector, repeat, .. } = plan;
    let vectors = rows * (half / vector);
    // SAFETY: `at` is below `vectors`, the length of dy; the others have twice as many.
    unsafe {
        swiglu_backward_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, vectors),
            plan.cube_dim(),
            gate_up.required_address_type(),
            vector,
            gate_up.into_buffer_arg(),
            dy.into_buffer_arg(),
            dgate_up.clone().into_buffer_arg(),
            vectors,
            half / vector,
            repeat,
            [elem(dtype), statistics_elem(dtype)],
        );
    }
    dgate_up
}

#[cube]
fn sigmoid<A: Float, N: Size>(x: Vector<A, N>) -> Vector<A, N> {
    let one = Vector::<A, N>::from_int(1);
    one / (one + (-x).exp())
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn swiglu_kernel<F: Float, A: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    vectors: usize,
    #[comptime] half: usize,
    #[comptime] repeat: u32,
    #[define(F, A)] _dtypes: [ElemType; 2],
) {
    let first = CUBE_POS * CUBE_DIM as usize * comptime!(repeat as usize) + UNIT_POS as usize;
    #[unroll]
    for i in 0..comptime!(repeat as usize) {
        let at = first + i * CUBE_DIM as usize;
        if at < vectors {
            let gate_at = at / half * half + at;
            let gate = Vector::<A, N>::cast_from(gate_up[gate_at]);
            let up = Vector::<A, N>::cast_from(gate_up[gate_at + half]);
            y[at] = Vector::cast_from(gate * sigmoid::<A, N>(gate) * up);
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn swiglu_backward_kernel<F: Float, A: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    dgate_up: &mut [Vector<F, N>],
    vectors: usize,
    #[comptime] half: usize,
    #[comptime] repeat: u32,
    #[define(F, A)] _dtypes: [ElemType; 2],
) {
    let one = Vector::<A, N>::from_int(1);
    let first = CUBE_POS * CUBE_DIM as usize * comptime!(repeat as usize) + UNIT_POS as usize;
    #[unroll]
    for i in 0..comptime!(repeat as usize) {
        let at = first + i * CUBE_DIM as usize;
        if at < vectors {
            let gate_at = at / half * half + at;
            let gate = Vector::<A, N>::cast_from(gate_up[gate_at]);
            let up = Vector::<A, N>::cast_from(gate_up[gate_at + half]);
            let dy = Vector::<A, N>::cast_from(dy[at]);
            let sigma = sigmoid::<A, N>(gate);
            let slope = sigma * (one + gate * (one - sigma));
            dgate_up[gate_at] = Vector::cast_from(dy * up * slope);
            dgate_up[gate_at + half] = Vector::cast_from(dy * gate * sigma);
        }
    }
}
