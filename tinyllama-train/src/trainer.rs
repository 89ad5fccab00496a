//! One optimizer step after the other.
//!
//! The loss of a step is the mean over all targets of all its micro-batches, as if they were one
//! batch: each micro-batch contributes `sum(nll) / total targets`, so its gradient has the right
//! weight however many targets are masked. The step's micro-batches are read first for that total.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use tinyllama_model::{FlatParameters, TinyLlama};

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::config::TrainConfig;
use crate::loss::{mean_nll, summed_nll};
use crate::optimizer::{AdamW, global_norm};
use crate::side_by_side::{passes_at_once, side_by_side};
use crate::source::BatchSource;
use crate::train_error::TrainError;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens read by all steps so far, padding included.
    pub tokens: u64,
    /// Mean negative log-likelihood of the step's targets before the update, in nats.
    pub loss: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// How far a run is, for a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub tokens: u64,
    /// State of the [`BatchSource`].
    pub source: Value,
}

/// A model in training with everything that changes along with it.
#[derive(Debug)]
pub struct Trainer<S> {
    config: TrainConfig,
    device: Device,
    model: TinyLlama,
    parameters: FlatParameters,
    optimizer: AdamW,
    source: S,
    step: u64,
    tokens: u64,
}

impl<S: BatchSource> Trainer<S> {
    /// Starts a run with the given weights, on their device.
    ///
    /// # Errors
    /// The settings do not fit each other, or are those of another model.
    pub fn new(config: TrainConfig, model: TinyLlama, source: S) -> Result<Self, TrainError> {
        Self::assemble(config, model, source, |config, parameters, _| {
            Ok(AdamW::new(config.adamw(), parameters))
        })
    }

    /// Continues a run from a checkpoint, on `device`.
    ///
    /// # Errors
    /// The settings do not fit each other or the checkpoint's model, the checkpoint cannot be read, or
    /// the source cannot continue there.
    pub fn resume(
        config: TrainConfig,
        source: S,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let Position { step, tokens, source: state } = checkpoint.state.position();
        let model = checkpoint.model(device)?;
        let mut trainer = Self::assemble(config, model, source, |config, parameters, device| {
            let moments = checkpoint.moments(parameters.groups(), device)?;
            Ok(AdamW::from_moments(config.adamw(), moments, step))
        })?;
        trainer.restore_source(&state)?;
        (trainer.step, trainer.tokens) = (step, tokens);
        Ok(trainer)
    }

    fn assemble(
        config: TrainConfig,
        model: TinyLlama,
        source: S,
        optimizer: impl FnOnce(&TrainConfig, &FlatParameters, &Device) -> Result<AdamW, TrainError>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        if let Some(change) = config.model_difference(model.config()) {
            return Err(TrainError::OtherModel { change });
        }
        let device = model.device().inner();
        let parameters = FlatParameters::from_model(&model);
        let optimizer = optimizer(&config, &parameters, &device)?;
        let model = parameters.install(model.train());
        Ok(Self { config, device, model, parameters, optimizer, source, step: 0, tokens: 0 })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The model without autodiff, for evaluation and saving.
    pub fn model(&self) -> TinyLlama {
        self.model.valid()
    }

    /// The flat buffers behind the model's parameters.
    pub(crate) fn parameters(&self) -> &FlatParameters {
        &self.parameters
    }

    /// The optimizer's state.
    pub(crate) fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// How far the run is.
    pub fn position(&self) -> Position {
        Position { step: self.step, tokens: self.tokens, source: self.source.state() }
    }

    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.step >= self.config.max_steps
    }

    /// Reads a batch, computes its gradient and updates the model.
    ///
    /// # Errors
    /// The data cannot be read, has no target or a token that the model lacks, or the loss or gradient
    /// is not finite. Nothing has changed then, the position in the data included: the trainer can be
    /// saved, and fails at the same step again.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let before = self.source.state();
        let outcome = self.try_step();
        if outcome.is_err() {
            self.restore_source(&before)?;
        }
        outcome
    }

    fn restore_source(&mut self, state: &Value) -> Result<(), TrainError> {
        self.source
            .restore(state)
            .map_err(|error| TrainError::SourceState { message: error.to_string() })
    }

    fn try_step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.step + 1;
        let batches = (0..self.config.grad_accum_steps())
            .map(|_| self.source.next_batch(self.config.micro_batch_size))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TrainError::Source { source })?;
        let model_tokens = self.config.model.vocab_size;
        let data_tokens = batches.iter().map(Batch::vocab_size).max().unwrap_or(0);
        if data_tokens > model_tokens {
            return Err(TrainError::ForeignToken { step, token: data_tokens - 1, model_tokens });
        }
        let (loss, gradients) =
            loss_and_gradients(&self.model, &self.parameters, &batches, &self.device)
                .ok_or(TrainError::NoTargets { step })?;
        let norm = global_norm(&gradients);
        let grad_norm = norm.clone().into_scalar::<f64>();
        for (quantity, value) in [("loss", loss), ("gradient norm", grad_norm)] {
            if !value.is_finite() {
                return Err(TrainError::NotFinite { step, quantity, value });
            }
        }
        let lr = self.config.schedule().lr(self.step);
        self.optimizer.update(&mut self.parameters, gradients, norm, lr);
        self.model = self.parameters.install(self.model.clone());
        self.step = step;
        self.tokens += batches.iter().map(num_tokens).sum::<u64>();
        Ok(StepReport { step, tokens: self.tokens, loss, lr, grad_norm })
    }

    /// Mean negative log-likelihood of all targets of `batches`, in nats; `None` without a target.
    pub fn evaluate(&self, batches: &[Batch]) -> Option<f64> {
        mean_nll(&self.model(), batches, &self.device)
    }
}

/// Loss and flat gradients of all `batches` together; `None` without a target. `device` has no
/// autodiff.
fn loss_and_gradients(
    model: &TinyLlama,
    parameters: &FlatParameters,
    batches: &[Batch],
    device: &Device,
) -> Option<(f64, Vec<Tensor<1>>)> {
    let num_targets: usize = batches.iter().map(Batch::num_targets).sum();
    if num_targets == 0 {
        return None;
    }
    let autodiff = device.clone().autodiff();
    let at_once = passes_at_once(device);
    let pass = |batch: &Batch| {
        // With leaves of its own, a pass beside others has a graph of its own, and no lock to wait for.
        let own = (at_once > 1).then(|| parameters.install(model.clone()));
        let model = own.as_ref().unwrap_or(model);
        let nll = summed_nll(model, batch.inputs(&autodiff), batch.targets(&autodiff));
        let loss = nll.div_scalar(num_targets as f64);
        let mut gradients = loss.backward();
        (loss.inner(), parameters.gather_gradients(model, &mut gradients))
    };
    let mut losses = Vec::with_capacity(batches.len());
    let mut sums: Option<Vec<Tensor<1>>> = None;
    // Summed in the order of the batches, however many run at once: the same bits everywhere.
    for some in batches.chunks(at_once) {
        for (loss, gradients) in side_by_side(some, pass) {
            sums = Some(match sums {
                None => gradients,
                Some(sums) => sums.into_iter().zip(gradients).map(|(sum, g)| sum + g).collect(),
            });
            losses.push(loss);
        }
    }
    // Read only now, so that a device works on while the next micro-batch is prepared.
    let loss = losses.into_iter().map(|loss: Tensor<1>| loss.into_scalar::<f64>()).sum();
    sums.map(|gradients| (loss, gradients))
}

fn num_tokens(batch: &Batch) -> u64 {
    (batch.batch_size() * batch.sequence_tokens()) as u64
}

#[cfg(test)]
pub(crate) mod tests;
