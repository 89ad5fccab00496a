use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use tinyllama_model::{FlatParameters, ModelConfig, TinyLlama};

use super::*;
use crate::source::SourceError;

/// Sums of f32 in another order: far below what a wrong weight of a micro-batch would give.
const SUMMATION_ORDER: f64 = 1e-5;

/// A model of a few thousand parameters with every part of a large one.
pub(crate) fn tiny_config() -> TrainConfig {
    TrainConfig {
        max_steps: 6,
        warmup_steps: 2,
        batch_size: 4,
        micro_batch_size: 2,
        sequence_tokens: 12,
        log_every_steps: 1,
        eval_every_steps: 3,
        save_every_steps: 3,
        model: ModelConfig {
            vocab_size: 61,
            hidden_size: 24,
            intermediate_size: 40,
            num_hidden_layers: 2,
            num_attention_heads: 6,
            num_key_value_heads: 2,
            max_position_embeddings: 16,
            ..ModelConfig::demo()
        },
        ..TrainConfig::demo()
    }
}

/// Pseudo-random rows whose masks leave out more and more, or everything.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) position: u64,
    pub(crate) is_masked: bool,
}

impl BatchSource for Rows {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        let rows: Vec<(Vec<u32>, Vec<bool>)> = (0..num_sequences)
            .map(|_| {
                self.position += 1;
                let token = |i: u64| ((self.position * 37 + i * i * 11) % 61) as u32;
                let is_target = |i| !self.is_masked && i % (self.position % 5 + 1) == 0;
                ((0..13).map(token).collect(), (0..13).map(is_target).collect())
            })
            .collect();
        let rows: Vec<_> = rows.iter().map(|(row, mask)| (&row[..], &mask[..])).collect();
        Ok(Batch::from_masked(&rows, 0))
    }

    fn state(&self) -> Value {
        json!(self.position)
    }

    fn restore(&mut self, state: &Value) -> Result<(), SourceError> {
        self.position = state.as_u64().ok_or("the position is no number")?;
        Ok(())
    }
}

pub(crate) const ROWS: Rows = Rows { position: 0, is_masked: false };

pub(crate) fn tiny_trainer() -> Trainer<Rows> {
    let config = tiny_config();
    let model = TinyLlama::init(&config.model, &Device::flex().autodiff(), config.seed);
    Trainer::new(config, model, ROWS).unwrap()
}

fn norm(tensors: &[Tensor<1>]) -> f64 {
    let values =
        tensors.iter().flat_map(|tensor| tensor.to_data().iter::<f64>().collect::<Vec<_>>());
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn accumulated_gradients_are_those_of_the_big_batch() {
    let device = Device::flex();
    let model = TinyLlama::init(&tiny_config().model, &device.clone().autodiff(), 5);
    let parameters = FlatParameters::from_model(&model);
    let gradients = |sizes: &[usize]| {
        let mut rows = ROWS;
        let batches: Vec<_> = sizes.iter().map(|&size| rows.next_batch(size).unwrap()).collect();
        let counts: Vec<_> = batches.iter().map(Batch::num_targets).collect();
        (counts, loss_and_gradients(&model, &parameters, &batches, &device).unwrap())
    };
    let (_, (big_loss, big)) = gradients(&[8]);
    for sizes in [&[4, 4][..], &[1; 8], &[1, 4, 3]] {
        let (counts, (loss, accumulated)) = gradients(sizes);
        assert!(counts.windows(2).any(|pair| pair[0] != pair[1]), "the counts must differ");
        assert!((loss - big_loss).abs() <= SUMMATION_ORDER * big_loss);
        let differences: Vec<_> =
            big.iter().zip(accumulated).map(|(big, sum)| big.clone() - sum).collect();
        let relative = norm(&differences) / norm(&big);
        assert!(relative <= SUMMATION_ORDER, "{sizes:?}: {relative:e}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    // One parameter per group, moved by enough for f32 losses to show it.
    const STEP: f32 = 1e-2;
    const TOLERANCE: f64 = 2e-2;
    let device = Device::flex();
    let model = TinyLlama::init(&tiny_config().model, &device.clone().autodiff(), 5);
    let parameters = FlatParameters::from_model(&model);
    let batch = ROWS.clone().next_batch(6).unwrap();
    let (_, gradients) =
        loss_and_gradients(&model, &parameters, std::slice::from_ref(&batch), &device).unwrap();
    for (group, gradient) in gradients.iter().enumerate() {
        let gradient: Vec<f64> = gradient.to_data().iter().collect();
        let largest =
            (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
        let index = largest.unwrap();
        let loss = |delta: f32| {
            let mut moved = parameters.clone();
            let mut buffers = moved.take_buffers();
            let mut values: Vec<f32> = buffers[group].to_data().iter().collect();
            values[index] += delta;
            buffers[group] = Tensor::from_data(values.as_slice(), &device);
            moved.set_buffers(buffers);
            let model = moved.install(model.valid());
            mean_nll(&model, std::slice::from_ref(&batch), &device).unwrap()
        };
        let expected = (loss(STEP) - loss(-STEP)) / (2.0 * f64::from(STEP));
        let error = (gradient[index] - expected).abs() / expected.abs();
        assert!(error <= TOLERANCE, "group {group}: {} is not {expected}", gradient[index]);
    }
}

#[test]
fn training_learns_a_batch_by_heart() {
    let mut trainer = tiny_trainer();
    trainer.config.max_steps = 60;
    trainer.config.peak_lr = 1e-2;
    let first = trainer.step().unwrap();
    assert!((first.loss - 61_f64.ln()).abs() < 1.0, "a fresh model knows nothing: {}", first.loss);
    assert_eq!((first.step, first.tokens), (1, 48));
    while !trainer.is_finished() {
        trainer.source.position = 0;
        trainer.step().unwrap();
    }
    let batch = ROWS.clone().next_batch(4).unwrap();
    assert!(trainer.evaluate(&[batch]).unwrap() < 0.2);
    assert_eq!(trainer.evaluate(&[]), None);
}

#[test]
fn steps_follow_the_schedule() {
    let mut trainer = tiny_trainer();
    let TrainConfig { peak_lr, min_lr, .. } = trainer.config;
    let lrs: Vec<f64> = (0..4).map(|_| trainer.step().unwrap().lr).collect();
    // Two steps of warmup, then the first quarter of half a cosine.
    let quarter = min_lr + (peak_lr - min_lr) * (1.0 + 0.5_f64.sqrt()) / 2.0;
    // Learning rates are about 1e-3, and f64 rounds them at 1e-19.
    const F64_ROUNDING: f64 = 1e-15;
    for (lr, expected) in lrs.into_iter().zip([peak_lr / 2.0, peak_lr, peak_lr, quarter]) {
        assert!((lr - expected).abs() < F64_ROUNDING, "{lr} is not {expected}");
    }
}

#[test]
fn broken_numbers_stop_the_run_before_the_update() {
    let mut trainer = tiny_trainer();
    trainer.step().unwrap();
    let mut buffers = trainer.parameters.take_buffers();
    buffers[0] = buffers[0].clone().mul_scalar(f32::INFINITY);
    trainer.parameters.set_buffers(buffers);
    trainer.model = trainer.parameters.install(trainer.model.clone());
    let before = trainer.position();
    let error = trainer.step().unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 2, quantity: "loss", .. }), "{error}");
    // The data, too: what is saved now reads the same batch again.
    assert_eq!(trainer.position(), before);
}

#[test]
fn settings_and_weights_are_of_one_model() {
    let config = tiny_config();
    let model = ModelConfig { max_position_embeddings: 32, ..config.model.clone() };
    let model = TinyLlama::init(&model, &Device::flex().autodiff(), config.seed);
    let error = Trainer::new(config, model, ROWS).unwrap_err().to_string();
    let expected = "model.max_position_embeddings is 16 in the settings, but 32 in the model";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_token_that_the_model_lacks_is_an_error() {
    let config = tiny_config();
    let model = ModelConfig { vocab_size: 60, ..config.model };
    let config = TrainConfig { model, ..config };
    let model = TinyLlama::init(&config.model, &Device::flex().autodiff(), config.seed);
    // The rows have tokens up to 60.
    let mut trainer = Trainer::new(config, model, ROWS).unwrap();
    let error = (0..6).find_map(|_| trainer.step().err()).expect("the largest token comes by");
    assert!(
        matches!(error, TrainError::ForeignToken { token: 60, model_tokens: 60, .. }),
        "{error}"
    );
}

#[test]
fn a_step_without_targets_is_an_error() {
    let mut trainer = tiny_trainer();
    trainer.source.is_masked = true;
    let error = trainer.step().unwrap_err();
    assert!(matches!(error, TrainError::NoTargets { step: 1 }), "{error}");
}
