//! AdamW as one CubeCL kernel per buffer, and the sum of squares in two.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::AdamWStep;
use crate::cube::{
    RowUnits, elem, empty, reads, row_plan, row_sum, statistics_elem, unit_plan, writable,
};
use crate::precision::statistics_dtype;

/// The factors of an update, worked out in f64 on the host.
#[derive(CubeLaunch, CubeType)]
struct Factors {
    beta1: InputScalar,
    one_minus_beta1: InputScalar,
    beta2: InputScalar,
    one_minus_beta2: InputScalar,
    /// 1 / (1 − β₂ᵗ)
    correction2: InputScalar,
    eps: InputScalar,
    /// lr / (1 − β₁ᵗ)
    rate: InputScalar,
    /// 1 − lr · λ
    decay: InputScalar,
}

/// → (parameter, exp_avg, exp_avg_sq).
pub(crate) fn update(
    parameter: CubeTensor,
    exp_avg: CubeTensor,
    exp_avg_sq: CubeTensor,
    gradient: CubeTensor,
    scale: CubeTensor,
    step: AdamWStep,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [len] = parameter.shape().dims();
    let (parameter, exp_avg) = (writable(parameter), writable(exp_avg));
    let (exp_avg_sq, gradient) = (writable(exp_avg_sq), reads(gradient));
    if len == 0 {
        return (parameter, exp_avg, exp_avg_sq);
    }
    let (client, dtype) = (parameter.client.clone(), parameter.dtype);
    let plan = unit_plan(&client, "adamw", dtype, len);
    let vectors = len / plan.vector;
    let dtypes = [
        elem(dtype),
        elem(exp_avg.dtype),
        elem(gradient.dtype),
        elem(scale.dtype),
        statistics_elem(dtype),
    ];
    let (bias1, bias2) = step.bias_corrections();
    let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, .. } = step;
    let scalar = |value: f64| InputScalar::new(value, dtypes[4]);
    // SAFETY: `at` is below `vectors`, the length of every buffer.
    unsafe {
        adamw_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, vectors),
            plan.cube_dim(),
            parameter.required_address_type(),
            plan.vector,
            parameter.clone().into_buffer_arg(),
            exp_avg.clone().into_buffer_arg(),
            exp_avg_sq.clone().into_buffer_arg(),
            gradient.into_buffer_arg(),
            scale.into_buffer_arg(),
            FactorsLaunch::new(
                scalar(beta1),
                scalar(1.0 - beta1),
                scalar(beta2),
                scalar(1.0 - beta2),
                scalar(1.0 / bias2),
                scalar(eps),
                scalar(learning_rate / bias1),
                scalar(1.0 - learning_rate * weight_decay),
            ),
            vectors,
            plan.repeat,
            dtypes,
        );
    }
    (parameter, exp_avg, exp_avg_sq)
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn adamw_kernel<P: Float, M: Float, G: Float, S: Float, A: Float, N: Size>(
    parameter: &mut [Vector<P, N>],
    exp_avg: &mut [Vector<M, N>],
    exp_avg_sq: &mut [Vector<M, N>],
    gradient: &[Vector<G, N>],
    scale: &[S],
    factors: &Factors,
    vectors: usize,
    #[comptime] repeat: u32,
    #[define(P, M, G, S, A)] _dtypes: [ElemType; 5],
) {
    let scale = Vector::<A, N>::new(A::cast_from(scale[0]));
    let first = CUBE_POS * CUBE_DIM as usize * comptime!(repeat as usize) + UNIT_POS as usize;
    #[unroll]
    for i in 0..comptime!(repeat as usize) {
        let at = first + i * CUBE_DIM as usize;
        if at < vectors {
            let g = Vector::<A, N>::cast_from(gradient[at]) * scale;
            let m = Vector::<A, N>::cast_from(exp_avg[at]) * Vector::new(factors.beta1.get::<A>())
                + g * Vector::new(factors.one_minus_beta1.get::<A>());
            let v = Vector::<A, N>::cast_from(exp_avg_sq[at])
                * Vector::new(factors.beta2.get::<A>())
                + g * g * Vector::new(factors.one_minus_beta2.get::<A>());
            let root = (v * Vector::new(factors.correction2.get::<A>())).sqrt()
                + Vector::new(factors.eps.get::<A>());
            let direction = m * Vector::new(factors.rate.get::<A>()) / root;
            let decayed =
                Vector::<A, N>::cast_from(parameter[at]) * Vector::new(factors.decay.get::<A>());
            parameter[at] = Vector::cast_from(decayed - direction);
            exp_avg[at] = Vector::cast_from(m);
            exp_avg_sq[at] = Vector::cast_from(v);
        }
    }
}

/// gradient `[len]` → `[1]`: sums of fixed cubes, and their sum by one.
pub(crate) fn squared_norm(gradient: CubeTensor) -> CubeTensor {
    let [len] = gradient.shape().dims();
    let gradient = reads(gradient);
    let (client, dtype) = (gradient.client.clone(), gradient.dtype);
    let statistics = statistics_dtype(dtype);
    let plan = row_plan(&client, "squared_norm", dtype, len.max(1), false);
    let cores = client.properties().hardware.num_streaming_multiprocessors.unwrap_or(8);
    let vectors = len / plan.vector;
    let units = plan.row.units as usize;
    let cubes = vectors.div_ceil(units).clamp(1, (cores * plan.repeat) as usize);
    let partial = empty(&gradient, [cubes], statistics);
    let sum = empty(&gradient, [1], statistics);
    let (element, accumulator) = (elem(dtype), statistics_elem(dtype));
    let address = gradient.required_address_type();
    let launch =
        |input: CubeTensor, output: CubeTensor, cubes: usize, vectors, vector, square, of| {
            // SAFETY: `at` is compared with `vectors`, and there is one output per cube.
            unsafe {
                sum_kernel::launch_unchecked(
                    &client,
                    CubeCount::Static(cubes as u32, 1, 1),
                    CubeDim::new_1d(plan.row.units),
                    address,
                    vector,
                    input.into_buffer_arg(),
                    output.into_buffer_arg(),
                    vectors,
                    RowUnits { rows: 1, ..plan.row },
                    square,
                    [of, accumulator],
                );
            }
        };
    launch(gradient, partial.clone(), cubes, vectors, plan.vector, true, element);
    launch(partial, sum.clone(), 1, cubes, 1, false, accumulator);
    sum
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_kernel<F: Float, A: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [A],
    vectors: usize,
    #[comptime] row: RowUnits,
    #[comptime] square: bool,
    #[define(F, A)] _dtypes: [ElemType; 2],
) {
    let mut sums = Vector::<A, N>::zeroed();
    let mut at = ABSOLUTE_POS;
    while at < vectors {
        let value = Vector::<A, N>::cast_from(input[at]);
        sums += if comptime!(square) { value * value } else { value };
        at += CUBE_COUNT * CUBE_DIM as usize;
    }
    let sum = row_sum::<A>(sums.vector_sum(), row);
    if UNIT_POS == 0 {
        output[CUBE_POS] = sum;
    }
}
