//! TinyLlama for burn-train's own `Learner`: everything a `SupervisedTraining` asks of a model and of
//! its data. The project's [`Trainer`](crate::Trainer) does not use it.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::{Dataset, DatasetError};
use burn::module::Module;
use burn::tensor::{Device, ExecutionError, Int, Tensor};
use burn_train::metric::{Adaptor, LossInput};
use burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use tinyllama_model::TinyLlama;

use crate::batch::Batch;
use crate::loss::summed_nll;
use crate::shards::TokenShards;

/// A model that burn-train can train.
#[derive(Module, Debug)]
pub struct LearnerLlama {
    /// The model itself.
    pub model: TinyLlama,
}

/// Inputs `[B, T]` and targets `[R]` on the device they were made for.
#[derive(Clone, Debug)]
pub struct LearnerBatch {
    inputs: Tensor<2, Int>,
    targets: Tensor<1, Int>,
    num_targets: usize,
}

/// Mean loss of a batch `[1]`, in nats.
#[derive(Clone, Debug)]
pub struct LearnerOutput {
    loss: Tensor<1>,
}

impl LearnerLlama {
    fn loss(&self, batch: LearnerBatch) -> Tensor<1> {
        let nll = summed_nll(&self.model, batch.inputs, batch.targets);
        nll.div_scalar(batch.num_targets.max(1) as f64)
    }
}

impl TrainStep for LearnerLlama {
    type Input = LearnerBatch;
    type Output = LearnerOutput;

    fn step(&self, batch: LearnerBatch) -> TrainOutput<LearnerOutput> {
        let loss = self.loss(batch);
        let gradients = loss.backward();
        TrainOutput::new(self, gradients, LearnerOutput { loss: loss.inner() })
    }
}

impl InferenceStep for LearnerLlama {
    type Input = LearnerBatch;
    type Output = LearnerOutput;

    fn step(&self, batch: LearnerBatch) -> LearnerOutput {
        LearnerOutput { loss: self.loss(batch) }
    }
}

impl ItemLazy for LearnerOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for LearnerOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

/// The windows of a split as a dataset: item `i` is T + 1 tokens.
#[derive(Clone, Debug)]
pub struct WindowDataset {
    shards: Arc<TokenShards>,
    sequence_tokens: usize,
    num_windows: usize,
}

impl WindowDataset {
    /// At most the first `max_windows` windows.
    ///
    /// # Panics
    /// When `sequence_tokens` is zero.
    pub fn new(shards: Arc<TokenShards>, sequence_tokens: usize, max_windows: usize) -> Self {
        let available = shards.size().num_tokens.saturating_sub(1) / sequence_tokens as u64;
        let num_windows = usize::try_from(available).unwrap_or(usize::MAX).min(max_windows);
        Self { shards, sequence_tokens, num_windows }
    }
}

impl Dataset<Vec<u32>> for WindowDataset {
    fn get(&self, index: usize) -> Result<Vec<u32>, DatasetError> {
        assert!(index < self.num_windows, "window {index} of {}", self.num_windows);
        let mut window = Vec::with_capacity(self.sequence_tokens + 1);
        let start = (index * self.sequence_tokens) as u64;
        self.shards
            .read(start, self.sequence_tokens + 1, &mut window)
            .map_err(DatasetError::new)?;
        Ok(window)
    }

    fn len(&self) -> usize {
        self.num_windows
    }
}

/// Stacks windows into a [`LearnerBatch`].
#[derive(Clone, Copy, Debug)]
pub struct WindowBatcher;

impl Batcher<Vec<u32>, LearnerBatch> for WindowBatcher {
    fn batch(&self, windows: Vec<Vec<u32>>, device: &Device) -> LearnerBatch {
        let sequence_tokens = windows.first().map_or(0, |window| window.len().saturating_sub(1));
        let batch = Batch::from_windows(&windows.concat(), sequence_tokens);
        LearnerBatch {
            inputs: batch.inputs(device),
            targets: batch.targets(device),
            num_targets: batch.num_targets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tinyllama_model::ModelConfig;

    use super::*;
    use crate::loss::mean_nll;

    #[test]
    fn both_steps_give_the_trainers_mean_loss() {
        let config = ModelConfig {
            vocab_size: 32,
            hidden_size: 24,
            intermediate_size: 40,
            num_hidden_layers: 1,
            ..ModelConfig::demo()
        };
        let device = Device::flex();
        let windows: Vec<Vec<u32>> = vec![vec![1, 2, 3, 4], vec![9, 8, 7, 6]];
        let model = TinyLlama::init(&config, &device.clone().autodiff(), 1);
        let batch = Batch::from_windows(&windows.concat(), 3);
        let expected = mean_nll(&model.valid(), &[batch], &device).unwrap();
        let model = LearnerLlama { model };
        let trained = TrainStep::step(
            &model,
            WindowBatcher.batch(windows.clone(), &device.clone().autodiff()),
        );
        let evaluated = InferenceStep::step(&model.valid(), WindowBatcher.batch(windows, &device));
        // The same operations on the same values, but for the division, which is in f32 here.
        const F32_DIVISION: f64 = 1e-6;
        for output in [trained.item, evaluated] {
            assert!((output.loss.into_scalar::<f64>() - expected).abs() < F32_DIVISION);
        }
        assert_eq!(
            trained.grads.len(),
            9,
            "a gradient for every parameter of one block and the rest"
        );
    }
}
