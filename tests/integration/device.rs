//! One device against the CPU: every operation and its gradients against f64, which kernels-cubecl
//! checks against scalar formulas and finite differences; a model's greedy ids and the losses of a
//! few training steps against f32.
//!
//! The device is named by TINYLLAMA_TEST_DEVICE. On `cpu`, the default, the last two compare the CPU
//! with itself.

use std::path::Path;

use crate::reference_logits::greedy;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use kernels_cubecl::{
    AttentionOptions, DeviceSpec, IGNORE_INDEX, attention, cross_entropy, linear, rms_norm, rope,
    swiglu,
};
use serde_json::Value;
use tinyllama_model::{ModelConfig, TinyLlama, weights};
use tinyllama_train::{Batch, BatchSource, SourceError, TrainConfig, Trainer};

/// Relative norm in f32. Sums of some hundred terms, each rounded to 6e-8: CUDA, Vulkan and the CPU
/// stay below 4e-7; TF32 would be 3e-4 away.
const F32_TOLERANCE: f64 = 2e-6;

/// Relative norm in f64, of the same sums in another order.
const F64_TOLERANCE: f64 = 1e-12;

/// In bf16 a device may be this many times as far from f64 as the same operation on the CPU: both
/// accumulate in f32 and differ in the order of sums alone.
const BF16_FACTOR: f64 = 1.1;

/// Relative norm in bf16, the plain operations on the CPU. Inputs and results are each rounded to 8
/// bits, 2e-3 in the mean; the gradient of a softmax is a small difference of them, and 6e-3 away.
const BF16_TOLERANCE: f64 = 1e-2;

/// Relative difference of a loss in f32 over a few optimizer steps; an H100 is 6e-8 away.
const LOSS_TOLERANCE: f64 = 2e-6;

fn spec() -> DeviceSpec {
    let name = std::env::var("TINYLLAMA_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    name.parse().expect("TINYLLAMA_TEST_DEVICE names a device")
}

fn device() -> Device {
    spec().resolve().expect("the device of TINYLLAMA_TEST_DEVICE exists")
}

/// cubecl-cpu claims bf16 on any CPU, but its compiler leaves `__truncsfbf2` unresolved on one without
/// AVX512-BF16, and no kernel that rounds to bf16 loads.
fn has_bf16(device: &Device) -> bool {
    device.supports_dtype(DType::BF16) && spec() != DeviceSpec::CubeclCpu
}

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

/// `op` on flat inputs and the gradients of `Σ weight · op(inputs)`, result first.
fn outputs<const N: usize>(
    inputs: &[Vec<f64>; N],
    op: &impl Fn([Tensor<1>; N]) -> Tensor<1>,
    device: &Device,
    dtype: DType,
) -> Vec<Vec<f64>> {
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

/// Checks an operation and its gradients in f32, and in f64 and bf16 where the device has them.
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
    if device != cpu && device.supports_dtype(DType::F64) {
        let in_f64 = errors(&device, DType::F64);
        assert!(in_f64.iter().all(|error| *error <= F64_TOLERANCE), "f64: off by {in_f64:?}");
    }
    if has_bf16(&device) {
        let (found, plain) = (errors(&device, DType::BF16), errors(&cpu, DType::BF16));
        println!("bf16 {found:?}, on the CPU {plain:?}");
        assert!(
            plain.iter().all(|error| *error <= BF16_TOLERANCE),
            "bf16 on the CPU: result and gradients are off by {plain:?}"
        );
        assert!(
            found.iter().zip(&plain).all(|(found, plain)| *found <= BF16_FACTOR * plain),
            "bf16: result and gradients are off by {found:?}, on the CPU by {plain:?}"
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

#[test]
fn rope_of_two_sequences() {
    let [batch, length, heads, head_dim] = [2, 9, 3, 10];
    let count = batch * length * heads * head_dim;
    let angles = values(length * head_dim / 2, 3);
    check([values(count, 1)], |[x]| {
        let at = (&x.device(), x.dtype());
        let table = |of: fn(f64) -> f64| {
            let table: Vec<f64> = angles.iter().map(|angle| of(3.0 * angle)).collect();
            tensor(&table, [1, length, head_dim / 2], at)
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        rope(x.reshape([batch, length, heads, head_dim]), cos, sin).reshape([count])
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
    check([logits], |[logits]| {
        let targets = Tensor::<1, Int>::from_data(
            TensorData::from(targets.as_slice()),
            &logits.device().inner(),
        );
        cross_entropy(logits.reshape([rows, vocab]), targets)
    });
}

/// A prefill and decoding steps through the KV cache choose the tokens that the CPU chooses.
#[test]
fn greedy_ids_are_those_of_the_cpu() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_llama");
    let continued = |device: &Device| {
        let model = weights::load(&folder, device).expect("the fixture is complete");
        greedy(&model, &[1.0, 5.0, 9.0, 2.0, 7.0], 12, device)
    };
    let (found, expected) = (continued(&device()), continued(&Device::flex()));
    assert_eq!(found, expected);
}

/// Windows of one repeating text.
struct Repeating {
    next: u32,
    vocab_size: u32,
    sequence_tokens: usize,
}

impl BatchSource for Repeating {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        let count = num_sequences * (self.sequence_tokens + 1);
        let ids = (self.next..).take(count).map(|at| at * at % self.vocab_size);
        let windows: Vec<u32> = ids.collect();
        self.next += count as u32;
        Ok(Batch::from_windows(&windows, self.sequence_tokens))
    }

    fn state(&self) -> Value {
        self.next.into()
    }

    fn restore(&mut self, _: &Value) -> Result<(), SourceError> {
        panic!("this run is never resumed")
    }
}

#[test]
fn training_losses_are_those_of_the_cpu() {
    let model = ModelConfig {
        vocab_size: 61,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        ..ModelConfig::demo()
    };
    let config = TrainConfig {
        batch_size: 4,
        micro_batch_size: 2,
        sequence_tokens: 15,
        model,
        ..TrainConfig::demo()
    }
    .with_max_steps(4);
    let losses = |device: &Device| -> Vec<f64> {
        let model = TinyLlama::init(&config.model, &device.clone().autodiff(), 7);
        let source = Repeating { next: 0, vocab_size: 61, sequence_tokens: config.sequence_tokens };
        let mut trainer = Trainer::new(config.clone(), model, source).expect("valid settings");
        (0..config.max_steps).map(|_| trainer.step().expect("a finite step").loss).collect()
    };
    let (found, expected) = (losses(&device()), losses(&Device::flex()));
    println!("{found:?} on the CPU {expected:?}");
    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / expected;
        assert!(error <= LOSS_TOLERANCE, "step {}: {found} instead of {expected}", step + 1);
    }
    assert!(expected[3] < expected[0], "the losses do not fall: {expected:?}");
}
