//! Every operation and its gradients against f64 on the CPU, which kernels-cubecl checks against scalar
//! formulas and finite differences.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use kernels_cubecl::{
    AdamWStep, AttentionOptions, CrossEntropyOptions, IGNORE_INDEX, SamplingOptions, adamw,
    add_rms_norm, attention, cross_entropy, embedding, linear, linear_cross_entropy, rms_norm,
    rope, sample, squared_norm, swiglu,
};

use super::{device, supports};

/// Relative norm in f32. Sums of some hundred terms, each rounded to 6e-8: CUDA, Vulkan and the CPU
/// stay below 4e-7; TF32 would be 3e-4 away.
const F32_TOLERANCE: f64 = 2e-6;

/// Relative norm in f64, of the same sums in another order.
const F64_TOLERANCE: f64 = 1e-12;

/// In 16 bits a device may be this many times as far from f64 as the same operation on the CPU: both
/// accumulate in f32 and differ in the order of sums alone.
const LOW_PRECISION_FACTOR: f64 = 1.1;

/// Relative norms in 16 bits, the plain operations on the CPU. Inputs and results are each rounded to 8
/// bits (bf16) or 11 (f16), 2e-3 or 3e-4 in the mean; the gradient of a softmax is a small difference of
/// them, three times as far away.
const LOW_PRECISION_TOLERANCES: [(DType, f64); 2] = [(DType::BF16, 1e-2), (DType::F16, 2e-3)];

/// Deterministic values in (-1, 1) from a linear congruential generator.
fn values(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    (device, dtype): (&Device, DType),
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Leaves NaN in the memory that the next tensors of a device get, so that a result no kernel wrote shows.
fn poison(device: &Device, dtype: DType) {
    for size in [1, 1 << 8, 1 << 12, 1 << 16, 1 << 18] {
        let tensors: Vec<Tensor<1>> =
            (0..8).map(|_| tensor(&vec![f64::NAN; size], [size], (device, dtype))).collect();
        drop(tensors);
    }
}

/// `op` on flat inputs and the gradients of `Σ weight · op(inputs)`, result first.
fn outputs<const N: usize>(
    inputs: &[Vec<f64>; N],
    op: &impl Fn([Tensor<1>; N]) -> Tensor<1>,
    device: &Device,
    dtype: DType,
) -> Vec<Vec<f64>> {
    poison(device, dtype);
    let device = device.clone().autodiff();
    let leaves: [Tensor<1>; N] = std::array::from_fn(|i| {
        tensor(&inputs[i], [inputs[i].len()], (&device, dtype)).require_grad()
    });
    let out = op(leaves.clone());
    let weights = tensor(&values(out.dims()[0], 99), out.dims(), (&device, out.dtype()));
    let gradients = (out.clone() * weights).sum().backward();
    let of_leaf = |leaf: Tensor<1>| to_vec(leaf.grad(&gradients).expect("every input is reached"));
    std::iter::once(to_vec(out.inner())).chain(leaves.map(of_leaf)).collect()
}

/// Distance of `found` from `expected` in units of the length of `expected`.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "number of elements");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(found, expected)| found - expected))
        / norm(&mut expected.iter().copied())
}

/// Checks an operation and its gradients in f32, and in f64, bf16 and f16 where the device has them.
#[track_caller]
fn check<const N: usize>(inputs: [Vec<f64>; N], op: impl Fn([Tensor<1>; N]) -> Tensor<1>) {
    let (device, cpu) = (device(), Device::flex());
    let expected = outputs(&inputs, &op, &cpu, DType::F64);
    let errors = |device: &Device, dtype| -> Vec<f64> {
        let found = outputs(&inputs, &op, device, dtype);
        found.iter().zip(&expected).map(|(f, e)| relative_error(f, e)).collect()
    };
    let in_f32 = errors(&device, DType::F32);
    assert!(
        in_f32.iter().all(|error| *error <= F32_TOLERANCE),
        "f32: result and gradients are off by {in_f32:?}"
    );
    println!("f32 {in_f32:?}");
    let twice = [(); 2].map(|()| outputs(&inputs, &op, &device, DType::F32));
    assert!(twice[0] == twice[1], "two runs differ");
    if device != cpu && supports(&device, DType::F64) {
        let in_f64 = errors(&device, DType::F64);
        assert!(in_f64.iter().all(|error| *error <= F64_TOLERANCE), "f64: off by {in_f64:?}");
    }
    for (dtype, tolerance) in LOW_PRECISION_TOLERANCES {
        if !supports(&device, dtype) {
            continue;
        }
        let (found, plain) = (errors(&device, dtype), errors(&cpu, dtype));
        println!("{dtype:?} {found:?}, on the CPU {plain:?}");
        assert!(
            plain.iter().all(|error| *error <= tolerance),
            "{dtype:?} on the CPU: result and gradients are off by {plain:?}"
        );
        assert!(
            found.iter().zip(&plain).all(|(found, plain)| *found <= LOW_PRECISION_FACTOR * plain),
            "{dtype:?}: result and gradients are off by {found:?}, on the CPU by {plain:?}"
        );
    }
}

#[test]
fn linear_with_odd_sizes() {
    let (rows, inputs, outputs) = (37, 65, 43);
    check([values(rows * inputs, 1), values(outputs * inputs, 2)], |[x, weight]| {
        linear(x.reshape([rows, inputs]), weight.reshape([outputs, inputs]))
            .reshape([rows * outputs])
    });
}

#[test]
fn rms_norm_with_odd_sizes() {
    let (rows, width) = (19, 77);
    check([values(rows * width, 1), values(width, 2)], |[x, weight]| {
        rms_norm(x.reshape([rows, width]), weight, 1e-5).reshape([rows * width])
    });
}

/// Rows of two elements, of a prime number, and too wide for the registers of their units.
#[test]
fn rms_norm_of_any_width() {
    for (rows, width) in [(1, 2), (5, 3), (2, 769), (700, 8), (2, 40_000)] {
        check([values(rows * width, 1), values(width, 2)], |[x, weight]| {
            rms_norm(x.reshape([rows, width]), weight, 1e-5).reshape([rows * width])
        });
    }
}

/// Inputs that lie in memory in another order than their rows.
#[test]
fn transposed_and_narrowed_inputs() {
    let (rows, width) = (12, 40);
    check([values(rows * width, 1), values(width, 2)], |[x, weight]| {
        let x = x.reshape([width, rows]).transpose();
        rms_norm(x, weight, 1e-5).reshape([rows * width])
    });
    check([values(rows * width, 1)], |[x]| {
        let x = x.reshape([rows, width]).narrow(1, 3, 24).narrow(0, 1, 7);
        swiglu(x).reshape([7 * 12])
    });
    check([values(rows * width, 1)], |[x]| {
        let x = x.reshape([1, width, rows / 2, 2]).swap_dims(1, 2);
        let at = (&x.device(), x.dtype());
        let (cos, sin) =
            (tensor(&values(width, 2), [width, 1], at), tensor(&values(width, 3), [width, 1], at));
        let offsets = Tensor::from_data(TensorData::from(&[0i64][..]), &x.device().inner());
        rope(x, cos, sin, offsets, 30).reshape([rows * width])
    });
    check([values(rows * width, 1)], |[logits]| {
        let targets = TensorData::from([3i64; 12].as_slice());
        let targets = Tensor::<1, Int>::from_data(targets, &logits.device().inner());
        let logits = logits.reshape([width, rows]).transpose();
        cross_entropy(logits, targets, CrossEntropyOptions::default())
    });
}

#[test]
fn add_rms_norm_with_odd_sizes() {
    let (rows, width) = (19, 77);
    let inputs = [values(rows * width, 1), values(rows * width, 3), values(width, 2)];
    check(inputs, |[x, residual, weight]| {
        let (x, residual) = (x.reshape([rows, width]), residual.reshape([rows, width]));
        let (y, sum) = add_rms_norm(x, residual, weight, 1e-5);
        (y + sum).reshape([rows * width])
    });
}

#[test]
fn rope_of_two_sequences() {
    let [batch, length, heads, head_dim] = [2, 9, 3, 10];
    let count = batch * length * heads * head_dim;
    let rows = length + 3;
    let angles = values(rows * head_dim / 2, 3);
    check([values(count, 1)], |[x]| {
        let at = (&x.device(), x.dtype());
        let table = |of: fn(f64) -> f64| {
            let table: Vec<f64> = angles.iter().map(|angle| of(3.0 * angle)).collect();
            tensor(&table, [rows, head_dim / 2], at)
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        let offsets = Tensor::from_data(TensorData::from(&[3i64, 0][..]), &x.device().inner());
        let x = x.reshape([batch, length, heads, head_dim]);
        rope(x, cos, sin, offsets, 2).reshape([count])
    });
}

#[test]
fn swiglu_with_odd_sizes() {
    let (rows, width) = (17, 51);
    let inputs = values(rows * 2 * width, 1).into_iter().map(|value| 4.0 * value).collect();
    check([inputs], |[gate_up]| swiglu(gate_up.reshape([rows, 2 * width])).reshape([rows * width]));
}

/// Six query heads on two key-value heads; queries that follow `keys - queries` cached ones.
fn check_attention(queries: usize, keys: usize, causal: bool) {
    let [batch, heads, kv_heads, head_dim] = [2, 6, 2, 16];
    let q_shape = [batch, queries, heads, head_dim];
    let k_shape = [batch, keys, kv_heads, head_dim];
    let count = |shape: [usize; 4]| shape.into_iter().product::<usize>();
    let q = values(count(q_shape), 1).into_iter().map(|value| 5.0 * value).collect();
    let options = AttentionOptions { causal, ..AttentionOptions::causal(head_dim) };
    check([q, values(count(k_shape), 2), values(count(k_shape), 3)], |[q, k, v]| {
        attention(q.reshape(q_shape), k.reshape(k_shape), v.reshape(k_shape), options)
            .reshape([count(q_shape)])
    });
}

#[test]
fn causal_attention() {
    check_attention(13, 13, true);
}

#[test]
fn attention_after_cached_keys() {
    check_attention(3, 11, true);
}

#[test]
fn attention_of_one_query() {
    check_attention(1, 11, true);
}

#[test]
fn full_attention() {
    check_attention(5, 9, false);
}

#[test]
fn cross_entropy_with_ignored_rows() {
    let (rows, vocab) = (23, 101);
    let target = |row: usize| if row.is_multiple_of(5) { IGNORE_INDEX } else { 4 * row as i64 };
    let targets: Vec<i64> = (0..rows).map(target).collect();
    let logits = values(rows * vocab, 1).into_iter().map(|value| 10.0 * value).collect();
    let options = CrossEntropyOptions { z_loss: 0.01, label_smoothing: 0.1 };
    check([logits], |[logits]| {
        let targets = Tensor::<1, Int>::from_data(
            TensorData::from(targets.as_slice()),
            &logits.device().inner(),
        );
        cross_entropy(logits.reshape([rows, vocab]), targets, options)
    });
}

#[test]
fn head_and_loss_together() {
    let [rows, width, vocab] = [9, 33, 57];
    let targets: Vec<i64> = (0..rows as i64).map(|row| row * 6).collect();
    check([values(rows * width, 1), values(vocab * width, 2)], |[x, weight]| {
        let targets =
            Tensor::<1, Int>::from_data(TensorData::from(targets.as_slice()), &x.device().inner());
        let (x, weight) = (x.reshape([rows, width]), weight.reshape([vocab, width]));
        linear_cross_entropy(x, weight, targets, CrossEntropyOptions::default())
    });
}

/// Some ids many times, some never.
#[test]
fn embedding_with_repeated_ids() {
    let [rows, width, vocab] = [41, 19, 23];
    let ids: Vec<i64> = (0..rows as i64).map(|row| row * row % 17).collect();
    check([values(vocab * width, 1)], |[weight]| {
        let ids = TensorData::from(ids.as_slice());
        let ids = Tensor::<1, Int>::from_data(ids, &weight.device().inner());
        embedding(weight.reshape([vocab, width]), ids).reshape([rows * width])
    });
}

#[test]
fn adamw_and_the_norm() {
    const LEN: usize = 3_001;
    let updated = |device: &Device| {
        let of = |seed| tensor(&values(LEN, seed), [LEN], (device, DType::F32));
        let (mut parameter, mut moments) = (of(1), [of(2) * 0.01, of(3).abs() * 0.01]);
        for number in 1..=3 {
            let gradient = of(10 + number);
            let scale = squared_norm(gradient.clone()).sqrt().recip();
            let step = AdamWStep {
                learning_rate: 0.01,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                number,
            };
            (parameter, moments) = adamw(parameter, moments, gradient, scale, step);
        }
        let [exp_avg, exp_avg_sq] = moments;
        [parameter, exp_avg, exp_avg_sq].map(to_vec)
    };
    for (found, expected) in updated(&device()).iter().zip(&updated(&Device::flex())) {
        let error = relative_error(found, expected);
        assert!(error <= F32_TOLERANCE, "off by {error}");
    }
}

/// The ids are those of the CPU, except where `uniform` falls between the sums of two roundings.
#[test]
fn sampled_ids_are_those_of_the_cpu() {
    const VOCAB: usize = 1_999;
    let rows = 64;
    let logits: Vec<f64> = values(rows * VOCAB, 1).iter().map(|value| 6.0 * value).collect();
    let uniform: Vec<f64> = values(rows, 2).iter().map(|value| 0.5 + 0.5 * value).collect();
    let plain = SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0 };
    for options in [
        SamplingOptions { temperature: 0.0, ..plain },
        plain,
        SamplingOptions { temperature: 0.7, ..plain },
        SamplingOptions { top_k: 40, ..plain },
        SamplingOptions { top_p: 0.8, ..plain },
        SamplingOptions { temperature: 0.9, top_k: 50, top_p: 0.9 },
    ] {
        let ids = |device: &Device| -> Vec<i64> {
            let at = (device, DType::F32);
            let logits = tensor(&logits, [rows, VOCAB], at);
            sample(logits, tensor(&uniform, [rows], at), options).into_data().iter().collect()
        };
        let (found, expected) = (ids(&device()), ids(&Device::flex()));
        let different = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        // 64 draws from sums that differ by 1e-6: one between two sums is unlikely, two absurd.
        assert!(different <= 1, "{options:?}: {found:?} instead of {expected:?}");
    }
}
