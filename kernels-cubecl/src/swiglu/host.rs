//! SwiGLU in plain Rust: one pass over memory, rows in shares.

use std::mem::MaybeUninit;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::reference;
use crate::host::{
    Scalar, contiguous, for_each_share, into_tensor, overwritable, rows_per_share, shared_dtype,
    unwritten, vectorised, writable,
};

/// One sigmoid takes as long as the passing of so many elements.
const SIGMOID: usize = 4;

/// Sigmoids that are kept for the gradients of both halves.
const BUFFER: usize = 256;

/// gate_up `[R, 2F]` → `[R, F]`.
pub(crate) fn forward(gate_up: FlexTensor) -> FlexTensor {
    match shared_dtype([&gate_up]) {
        Some(DType::F32) => activate::<f32>(gate_up),
        Some(DType::F64) => activate::<f64>(gate_up),
        _ => reference::forward::<Flex>(gate_up),
    }
}

/// → dgate_up `[R, 2F]`, over gate_up when nobody else holds it.
pub(crate) fn backward(gate_up: FlexTensor, dy: FlexTensor) -> FlexTensor {
    match shared_dtype([&gate_up, &dy]) {
        Some(DType::F32) => gradient::<f32>(gate_up, dy),
        Some(DType::F64) => gradient::<f64>(gate_up, dy),
        _ => reference::backward::<Flex>(gate_up, dy),
    }
}

fn activate<E: Scalar>(gate_up: FlexTensor) -> FlexTensor {
    let [rows, width] = gate_up.shape().dims();
    let half = width / 2;
    let gate_up = contiguous(gate_up);
    let mut y = unwritten::<E>(rows * half);
    let per_share = rows_per_share(rows, SIGMOID * rows * half);
    let inputs = gate_up.elements::<E>().chunks(per_share * width);
    for_each_share(inputs.zip(y.chunks_mut(per_share * half)), |(gate_up, y)| {
        vectorised(
            #[inline(always)]
            || {
                for (gate_up, y) in gate_up.chunks_exact(width).zip(y.chunks_exact_mut(half)) {
                    let (gate, up) = gate_up.split_at(half);
                    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
                        y.write(gate * sigmoid(gate) * up);
                    }
                }
            },
        );
    });
    // SAFETY: the shares cover all rows, of which each has written all of its y.
    unsafe { into_tensor(y, [rows, half]) }
}

fn gradient<E: Scalar>(mut gate_up: FlexTensor, dy: FlexTensor) -> FlexTensor {
    let [rows, width] = gate_up.shape().dims();
    let half = width / 2;
    let dy = contiguous(dy);
    let dy = dy.elements::<E>();
    let into = |gate_up: Option<&[E]>, results: &mut [MaybeUninit<E>]| {
        let per_share = rows_per_share(rows, SIGMOID * rows * half);
        let inputs = (0..rows).step_by(per_share).zip(dy.chunks(per_share * half));
        let shares = inputs.zip(results.chunks_mut(per_share * width));
        for_each_share(shares, |((first, dy), results)| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = dy.chunks_exact(half).zip(results.chunks_exact_mut(width));
                    for (row, (dy, results)) in rows.enumerate() {
                        if let Some(gate_up) = gate_up {
                            let inputs = &gate_up[(first + row) * width..][..width];
                            results.write_copy_of_slice(inputs);
                        }
                        // SAFETY: just written; without gate_up the memory of the results holds it.
                        backward_row(unsafe { results.assume_init_mut() }, dy);
                    }
                },
            );
        });
    };
    match overwritable::<E>(&mut gate_up) {
        Some(inputs_and_results) => {
            // SAFETY: only gradients are written.
            into(None, unsafe { writable(inputs_and_results) });
            gate_up
        }
        None => {
            let (gate_up, mut results) = (contiguous(gate_up), unwritten(rows * width));
            into(Some(gate_up.elements()), &mut results);
            // SAFETY: the shares cover all rows, of which each has been written.
            unsafe { into_tensor(results, [rows, width]) }
        }
    }
}

/// `[gate | up]` of one row becomes `[dgate | dup]`.
///
/// Sigmoids are taken in a loop of their own: one loop for all is too much for LLVM's vectoriser.
#[inline(always)]
fn backward_row<E: Scalar>(gate_up: &mut [E], dy: &[E]) {
    let (gate, up) = gate_up.split_at_mut(dy.len());
    let mut sigmoids = [E::ZERO; BUFFER];
    let halves = gate.chunks_mut(BUFFER).zip(up.chunks_mut(BUFFER));
    for ((gate, up), dy) in halves.zip(dy.chunks(BUFFER)) {
        let sigmoids = &mut sigmoids[..dy.len()];
        for (result, &gate) in sigmoids.iter_mut().zip(gate.iter()) {
            *result = sigmoid(gate);
        }
        let rest = up.iter_mut().zip(dy).zip(sigmoids.iter());
        for (gate, ((up, &dy), &sigmoid)) in gate.iter_mut().zip(rest) {
            let silu = *gate * sigmoid;
            *gate = dy * *up * (sigmoid + silu * (E::ONE - sigmoid));
            *up = dy * silu;
        }
    }
}

#[inline(always)]
fn sigmoid<E: Scalar>(x: E) -> E {
    E::ONE / (E::ONE + (-x).exponential())
}
