//! A model's greedy ids and the losses of a few training steps, in f32.

use std::path::Path;

use burn::tensor::Device;
use serde_json::Value;
use tinyllama_model::{ModelConfig, TinyLlama, weights};
use tinyllama_train::{Batch, BatchSource, SourceError, TrainConfig, Trainer};

use super::device;
use crate::reference_logits::greedy;

/// Relative difference of a loss in f32 over a few optimizer steps; an H100 is 6e-8 away.
const LOSS_TOLERANCE: f64 = 2e-6;

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
