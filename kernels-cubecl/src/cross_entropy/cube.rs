//! Cross-entropy as CubeCL kernels: logits are read once forward, read and overwritten once backward.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{CrossEntropyOptions, IGNORE_INDEX};
use crate::cube::{
    RowUnits, elem, empty, reads, row_max, row_plan, row_sum, statistics_elem, unit_plan, writable,
};
use crate::precision::statistics_dtype;

/// logits `[R, V]`, targets `[R]` → (loss `[R]`, lse `[R]`).
pub(crate) fn forward(
    logits: CubeTensor,
    targets: CubeTensor,
    options: CrossEntropyOptions,
) -> (CubeTensor, CubeTensor) {
    let [rows, vocab_size] = logits.shape().dims();
    let (logits, targets) = (reads(logits), reads(targets));
    let (client, dtype) = (logits.client.clone(), logits.dtype);
    let statistics = statistics_dtype(dtype);
    let (loss, lse) = (empty(&logits, [rows], statistics), empty(&logits, [rows], statistics));
    if rows == 0 {
        return (loss, lse);
    }
    let plan = row_plan(&client, "cross_entropy", dtype, vocab_size, true);
    let dtypes = [elem(dtype), statistics_elem(dtype), elem(targets.dtype)];
    let scalar = |value: f64| InputScalar::new(value, dtypes[1]);
    // SAFETY: rows beyond the last are not touched, vectors are compared with those of a row.
    unsafe {
        cross_entropy_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, rows),
            plan.cube_dim(),
            logits.required_address_type(),
            plan.vector,
            logits.into_buffer_arg(),
            targets.into_buffer_arg(),
            loss.clone().into_buffer_arg(),
            lse.clone().into_buffer_arg(),
            scalar(options.z_loss),
            scalar(options.label_smoothing),
            rows,
            vocab_size / plan.vector,
            plan.row,
            options.label_smoothing != 0.0,
            dtypes,
        );
    }
    (loss, lse)
}

/// → dlogits `[R, V]`.
pub(crate) fn backward(
    logits: CubeTensor,
    targets: CubeTensor,
    lse: CubeTensor,
    dloss: CubeTensor,
    options: CrossEntropyOptions,
) -> CubeTensor {
    let [rows, vocab_size] = logits.shape().dims();
    let (logits, targets) = (writable(logits), reads(targets));
    let (client, dtype) = (logits.client.clone(), logits.dtype);
    if rows * vocab_size == 0 {
        return logits;
    }
    let plan = unit_plan(&client, "cross_entropy_backward", dtype, vocab_size);
    let vectors = vocab_size / plan.vector;
    let dtypes = [elem(dtype), statistics_elem(dtype), elem(targets.dtype)];
    let scalar = |value: f64| InputScalar::new(value, dtypes[1]);
    // SAFETY: `at` is below rows · vectors of a row, the length of the buffer.
    unsafe {
        cross_entropy_backward_kernel::launch_unchecked(
            &client,
            plan.cube_count(&client, rows * vectors),
            plan.cube_dim(),
            logits.required_address_type(),
            plan.vector,
            logits.clone().into_buffer_arg(),
            targets.into_buffer_arg(),
            reads(lse).into_buffer_arg(),
            reads(dloss).into_buffer_arg(),
            scalar(2.0 * options.z_loss),
            scalar(options.label_smoothing),
            scalar(options.label_smoothing / vocab_size as f64),
            rows * vectors,
            vectors,
            plan.repeat,
            dtypes,
        );
    }
    logits
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn cross_entropy_kernel<F: Float, A: Float, I: Int, N: Size>(
    logits: &[Vector<F, N>],
    targets: &[I],
    loss: &mut [A],
    lse: &mut [A],
    z_loss: InputScalar,
    smoothing: InputScalar,
    rows: usize,
    #[comptime] vectors: usize,
    #[comptime] row: RowUnits,
    #[comptime] smoothed: bool,
    #[define(F, A, I)] _dtypes: [ElemType; 3],
) {
    let own = CUBE_POS * comptime!(row.rows as usize) + UNIT_POS_Y as usize;
    // Idle rows at the end compute the last one again: all units must reach the reductions.
    let at_row = own.min(rows - 1);
    let first = at_row * vectors;
    // One pass: whenever the maximum grows, the sum so far shrinks with it.
    let mut max = A::min_value();
    let mut exp_sum = A::from_int(0);
    let mut sums = Vector::<A, N>::zeroed();
    let mut at = UNIT_POS_X as usize;
    while at < vectors {
        let value = Vector::<A, N>::cast_from(logits[first + at]);
        let mut largest = value.extract(0usize);
        #[unroll]
        for i in 1..N::value() {
            largest = largest.max(value.extract(i));
        }
        let grown = max.max(largest);
        exp_sum =
            exp_sum * (max - grown).exp() + (value - Vector::<A, N>::new(grown)).exp().vector_sum();
        max = grown;
        if comptime!(smoothed) {
            sums += value;
        }
        at += comptime!(row.units as usize);
    }
    let of_row = row_max::<A>(max, row);
    let total = row_sum::<A>(exp_sum * (max - of_row).exp(), row);
    let log_sum = of_row + total.ln();
    let mut mean = A::from_int(0);
    if comptime!(smoothed) {
        mean = row_sum::<A>(sums.vector_sum(), row) / A::cast_from(comptime!(vectors) * N::value());
    }
    if own < rows && UNIT_POS_X == 0 {
        lse[own] = log_sum;
        let target = targets[own];
        if target == I::from_int(IGNORE_INDEX) {
            loss[own] = A::from_int(0);
        } else {
            let target = usize::cast_from(target);
            let of_target = A::cast_from(
                logits[first + target / N::value()].extract_dynamic(target % N::value()),
            );
            let share = smoothing.get::<A>();
            let expected = (A::from_int(1) - share) * of_target + share * mean;
            loss[own] = log_sum - expected + z_loss.get::<A>() * log_sum * log_sum;
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn cross_entropy_backward_kernel<F: Float, A: Float, I: Int, N: Size>(
    logits: &mut [Vector<F, N>],
    targets: &[I],
    lse: &[A],
    dloss: &[A],
    twice_z: InputScalar,
    smoothing: InputScalar,
    share_of_each: InputScalar,
    all_vectors: usize,
    #[comptime] vectors: usize,
    #[comptime] repeat: u32,
    #[define(F, A, I)] _dtypes: [ElemType; 3],
) {
    let one = A::from_int(1);
    let first = CUBE_POS * CUBE_DIM as usize * comptime!(repeat as usize) + UNIT_POS as usize;
    #[unroll]
    for i in 0..comptime!(repeat as usize) {
        let at = first + i * CUBE_DIM as usize;
        if at < all_vectors {
            let row = at / vectors;
            let column = at % vectors * N::value();
            let target = targets[row];
            if target == I::from_int(IGNORE_INDEX) {
                logits[at] = Vector::zeroed();
            } else {
                let (lse, dloss) = (lse[row], dloss[row]);
                let slope = dloss * (one + twice_z.get::<A>() * lse);
                let p = (Vector::<A, N>::cast_from(logits[at]) - Vector::new(lse)).exp();
                let mut gradient =
                    p * Vector::new(slope) - Vector::new(dloss * share_of_each.get::<A>());
                let target = usize::cast_from(target);
                if target / N::value() * N::value() == column {
                    let at_target = dloss * (one - smoothing.get::<A>());
                    #[unroll]
                    for lane in 0..N::value() {
                        if column + lane == target {
                            gradient.insert(lane, gradient.extract(lane) - at_target);
                        }
                    }
                }
                logits[at] = Vector::cast_from(gradient);
            }
        }
    }
}
