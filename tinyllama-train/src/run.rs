//! A run from its current step to its end: log, evaluate, save, stop when asked.

use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::checkpoint::TokenizerFiles;
use crate::config::TrainConfig;
use crate::metrics::StepRecord;
use crate::monitor::Monitor;
use crate::run_folder::RunFolder;
use crate::source::BatchSource;
use crate::train_error::TrainError;
use crate::trainer::{StepReport, Trainer};

/// What a run needs besides its trainer.
#[derive(Clone, Copy, Debug)]
pub struct RunContext<'a> {
    /// Where checkpoints go.
    pub folder: &'a RunFolder,
    /// What they hold besides weights.
    pub files: TokenizerFiles<'a>,
    /// Held-out batches; none skips evaluation.
    pub held_out: &'a [Batch],
    /// Peak of the device in FLOP/s, where it is known.
    pub peak_flops: Option<f64>,
    /// Seconds that the run took before it was resumed.
    pub earlier_wall_s: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunOutcome {
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Loss on the held-out batches in nats per token; `None` without any, or after a stop.
    pub val_loss: Option<f64>,
    /// Tokens per second of all steps of this call, evaluation and saving excluded.
    pub tokens_per_s: f64,
    /// Seconds of the run, those before a resume included.
    pub wall_s: f64,
    /// Whether the last step was reached; otherwise the run was asked to stop.
    pub is_finished: bool,
}

/// Trains to the last step, or until the monitor's interrupter asks to stop; saves at the end of both,
/// and before it gives up, so that no step is done twice. Only where loss or gradient break down the
/// last checkpoint stays the one of before.
///
/// # Errors
/// A step fails, or a checkpoint or a log line cannot be written.
pub fn run<S: BatchSource>(
    trainer: &mut Trainer<S>,
    context: RunContext<'_>,
    monitor: &mut Monitor,
) -> Result<RunOutcome, TrainError> {
    let config = trainer.config().clone();
    let mut progress = Progress::at(trainer.position().step);
    let label = format!("training {}", config.preset);
    monitor.start(progress.saved_step, config.max_steps, &label, context.peak_flops.is_some());
    let trained = train(trainer, &config, context, monitor, &mut progress);
    let saved = match trained {
        // The steps that led to broken numbers are no place to go on from.
        Err(TrainError::NotFinite { .. }) => Ok(()),
        _ => progress.save(trainer, context),
    };
    monitor.end(trainer.position().step, config.max_steps);
    trained.and(saved)?;
    if trainer.is_finished() && progress.val_loss.is_none() {
        // The run was resumed at its end.
        progress.val_loss = trainer.evaluate(context.held_out);
    }
    Ok(RunOutcome {
        step: trainer.position().step,
        tokens: trainer.position().tokens,
        val_loss: progress.val_loss,
        tokens_per_s: progress.pace.tokens_per_s(),
        wall_s: progress.wall_s(context),
        is_finished: trainer.is_finished(),
    })
}

fn train<S: BatchSource>(
    trainer: &mut Trainer<S>,
    config: &TrainConfig,
    context: RunContext<'_>,
    monitor: &mut Monitor,
    progress: &mut Progress,
) -> Result<(), TrainError> {
    let is_due =
        |step: u64, interval: u64| step.is_multiple_of(interval) || step == config.max_steps;
    let flops_per_token = config.model.flops_per_token_palm(config.sequence_tokens) as f64;
    let mut pace = Pace::default();
    while !trainer.is_finished() && !monitor.should_stop() {
        let tokens_before = trainer.position().tokens;
        let start = Instant::now();
        let report = trainer.step()?;
        pace.add(report.tokens - tokens_before, start.elapsed());
        progress.pace.add(report.tokens - tokens_before, start.elapsed());
        progress.val_loss = None;
        if report.step == 1 || is_due(report.step, config.log_every_steps) {
            let record = record(&report, pace.tokens_per_s(), flops_per_token, context.peak_flops);
            monitor.step(&record, config.max_steps)?;
            pace = Pace::default();
        }
        if is_due(report.step, config.eval_every_steps) {
            progress.val_loss = trainer.evaluate(context.held_out);
            progress.val_loss.into_iter().for_each(|loss| monitor.held_out_loss(loss));
        }
        if is_due(report.step, config.save_every_steps) {
            progress.save(trainer, context)?;
            monitor.event("checkpoint saved");
        }
    }
    Ok(())
}

/// What a call of [`run`] has done so far.
struct Progress {
    start: Instant,
    /// The step that is on disk, or at which the call began.
    saved_step: u64,
    /// Of the last step, where it was evaluated.
    val_loss: Option<f64>,
    /// Of all steps.
    pace: Pace,
}

impl Progress {
    fn at(step: u64) -> Self {
        Self { start: Instant::now(), saved_step: step, val_loss: None, pace: Pace::default() }
    }

    /// Seconds of the run, those before a resume included.
    fn wall_s(&self, context: RunContext<'_>) -> f64 {
        context.earlier_wall_s + self.start.elapsed().as_secs_f64()
    }

    /// Saves the steps that are not on disk, if there are any.
    fn save<S: BatchSource>(
        &mut self,
        trainer: &Trainer<S>,
        context: RunContext<'_>,
    ) -> Result<(), TrainError> {
        let step = trainer.position().step;
        if step > self.saved_step {
            context.folder.save(trainer, context.files, self.wall_s(context))?;
            self.saved_step = step;
        }
        Ok(())
    }
}

fn record(
    report: &StepReport,
    tokens_per_s: f64,
    flops_per_token: f64,
    peak_flops: Option<f64>,
) -> StepRecord {
    let StepReport { step, tokens, loss, lr, grad_norm } = *report;
    let mfu = peak_flops.map(|peak| tokens_per_s * flops_per_token / peak);
    StepRecord { step, tokens, loss, lr, grad_norm, tokens_per_s, mfu }
}

/// Tokens over the time the steps themselves took.
#[derive(Default)]
struct Pace {
    tokens: u64,
    elapsed: Duration,
}

impl Pace {
    fn add(&mut self, tokens: u64, elapsed: Duration) {
        self.tokens += tokens;
        self.elapsed += elapsed;
    }

    fn tokens_per_s(&self) -> f64 {
        match self.elapsed.is_zero() {
            true => 0.0,
            false => self.tokens as f64 / self.elapsed.as_secs_f64(),
        }
    }
}
