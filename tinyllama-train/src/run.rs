//! A run from its current step to its end: log, evaluate, save, stop when asked.

use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::checkpoint::{RunFolder, TokenizerFiles};
use crate::metrics::StepRecord;
use crate::monitor::Monitor;
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

/// Trains to the last step, or until the monitor's interrupter asks to stop; saves at the end of both.
///
/// # Errors
/// A step fails, or a checkpoint or a log line cannot be written.
pub fn run<S: BatchSource>(
    trainer: &mut Trainer<S>,
    context: RunContext<'_>,
    monitor: &mut Monitor,
) -> Result<RunOutcome, TrainError> {
    let max_steps = trainer.config().max_steps;
    let label = format!("training {}", trainer.config().preset);
    monitor.start(trainer.position().step, max_steps, &label, context.peak_flops.is_some());
    let outcome = steps(trainer, context, monitor);
    monitor.end(trainer.position().step, max_steps);
    outcome
}

fn steps<S: BatchSource>(
    trainer: &mut Trainer<S>,
    context: RunContext<'_>,
    monitor: &mut Monitor,
) -> Result<RunOutcome, TrainError> {
    let config = trainer.config().clone();
    let start = Instant::now();
    let wall_s = || context.earlier_wall_s + start.elapsed().as_secs_f64();
    let mut pace = Pace::default();
    let mut whole_pace = Pace::default();
    let (mut val_loss, mut is_saved) = (None, false);
    let is_due =
        |step: u64, interval: u64| step.is_multiple_of(interval) || step == config.max_steps;
    let mut is_first = true;
    while !trainer.is_finished() && !monitor.should_stop() {
        let tokens_before = trainer.position().tokens;
        let step_start = Instant::now();
        let report = trainer.step()?;
        let elapsed = step_start.elapsed();
        pace.add(report.tokens - tokens_before, elapsed);
        whole_pace.add(report.tokens - tokens_before, elapsed);
        (val_loss, is_saved) = (None, false);
        if is_first || is_due(report.step, config.log_every_steps) {
            let flops = config.model.flops_per_token_palm(config.sequence_tokens) as f64;
            let record = record(&report, pace.tokens_per_s(), flops, context.peak_flops);
            monitor.step(&record, config.max_steps)?;
            pace = Pace::default();
        }
        is_first = false;
        if is_due(report.step, config.eval_every_steps) {
            val_loss = trainer.evaluate(context.held_out);
            val_loss.into_iter().for_each(|loss| monitor.held_out_loss(loss));
        }
        if is_due(report.step, config.save_every_steps) {
            context.folder.save(trainer, context.files, wall_s())?;
            is_saved = true;
            monitor.event("checkpoint saved");
        }
    }
    if trainer.is_finished() && val_loss.is_none() {
        // The run was resumed at its end.
        val_loss = trainer.evaluate(context.held_out);
    } else if !trainer.is_finished() && !is_saved && trainer.position().step > 0 {
        context.folder.save(trainer, context.files, wall_s())?;
    }
    Ok(RunOutcome {
        step: trainer.position().step,
        tokens: trainer.position().tokens,
        val_loss,
        tokens_per_s: whole_pace.tokens_per_s(),
        wall_s: wall_s(),
        is_finished: trainer.is_finished(),
    })
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
