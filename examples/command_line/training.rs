//! What pretrain and sft have in common: the flags of a run, its start, its monitor and its stop.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use kernels_cubecl::DeviceSpec;
use tinyllama_train::{
    Checkpoint, Interrupter, MetricsFile, Monitor, RunFolder, RunLock, RunOutcome, TrainConfig,
    TrainError,
};

use crate::cargo::{command, path_flag};
use crate::command_line::say;
use crate::interrupt::listen;
use crate::terminal::pass_signals_through_dashboard;

/// The flags of every training run.
#[derive(Args)]
pub(crate) struct RunFlags {
    /// TOML file whose settings replace those the run starts from, as `peak_lr = 1e-3`
    ///
    /// The settings are preset, seed, max_steps, warmup_steps, peak_lr, min_lr, batch_size,
    /// micro_batch_size, sequence_tokens, beta1, beta2, adam_eps, weight_decay, max_grad_norm,
    /// log_every_steps, eval_every_steps, eval_sequences, save_every_steps, keep_checkpoints, and in a
    /// table [model] the keys of Hugging Face's config.json.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,

    /// Length of the run in optimizer steps; the warmup takes at most a tenth of it
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,

    /// Steps between two checkpoints
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,

    /// Continue the run in --out from its newest complete checkpoint, on the same data and with the
    /// settings it began with
    ///
    /// peak_lr, min_lr and max_grad_norm may change, which is a way past a loss that breaks down; so
    /// may what is logged and saved.
    #[arg(long)]
    pub(crate) resume: bool,

    /// Seed of the random numbers: first weights, order of the data
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, value_name = "D", default_value_t = DeviceSpec::Auto)]
    pub(crate) device: DeviceSpec,

    /// Write a JSON line per logged step, and one with "event":"final" when the last step is done
    ///
    /// A step has the keys step, tokens, loss, lr, grad_norm, tokens_per_s and mfu; the final line has
    /// event, step, tokens, val_loss, unigram_loss, bigram_loss, bits_per_byte and wall_s. Losses are
    /// in nats per token; what is not known is null.
    ///
    /// The file must be new or empty. With --resume it goes on after the checkpoint's step: lines of
    /// later steps, which are done again, are replaced. A run that was stopped has no final line.
    #[arg(long, value_name = "FILE.jsonl")]
    metrics_out: Option<PathBuf>,
}

impl RunFlags {
    /// Takes the run folder, and says where the run to resume goes on; `None` for a new one, whose
    /// folder must hold no run.
    pub(crate) fn begin(&self, folder: &RunFolder) -> Result<(RunLock, Option<Checkpoint>)> {
        if !self.resume {
            folder.require_new()?;
            return Ok((folder.lock()?, None));
        }
        if folder.checkpoints()?.is_empty() {
            // A mistyped folder is not made.
            let folder = folder.path().to_owned();
            return Err(TrainError::NothingToResume { folder }.into());
        }
        let lock = folder.lock()?;
        let checkpoint = folder.newest(|damaged| {
            say(format_args!("{damaged}; set aside, trying the checkpoint before it"));
        })?;
        Ok((lock, Some(checkpoint)))
    }

    /// The file and the flags laid on `base`, not checked yet.
    pub(crate) fn settings(&self, mut base: TrainConfig) -> Result<TrainConfig> {
        if let Some(path) = &self.config {
            base = base.with_file(path)?;
        }
        if let Some(max_steps) = self.max_steps {
            base = base.with_max_steps(max_steps);
        }
        base.save_every_steps = self.save_every.unwrap_or(base.save_every_steps);
        base.seed = self.seed.unwrap_or(base.seed);
        Ok(base)
    }

    /// Says what a resumed run changes, and opens the log: mistakes here should not wait for long work.
    pub(crate) fn log(
        &self,
        folder: &RunFolder,
        checkpoint: Option<&Checkpoint>,
        config: &TrainConfig,
    ) -> Result<Option<MetricsFile>> {
        if let Some(Checkpoint { folder: newest, state }) = checkpoint {
            let changes = folder.require_unchanged(&state.config, config)?;
            say(format_args!("resuming    {} at step {}", newest.display(), state.step));
            changes.iter().for_each(|change| say(format_args!("from now on {change}")));
        }
        let open = |path: &PathBuf| match checkpoint {
            Some(checkpoint) => MetricsFile::resume(path, checkpoint.state.step),
            None => MetricsFile::create(path),
        };
        Ok(self.metrics_out.as_ref().map(open).transpose()?)
    }

    /// What shows the run, and ends it after its current step when a signal asks for it.
    pub(crate) fn monitor(metrics: Option<MetricsFile>) -> Result<Monitor> {
        let interrupter = Interrupter::new();
        listen(&interrupter)?;
        let monitor = Monitor::for_terminal(interrupter, metrics);
        if monitor.has_dashboard() {
            pass_signals_through_dashboard();
        }
        Ok(monitor)
    }

    /// Says how to go on with a run that was stopped; `more` are flags of the example's own.
    pub(crate) fn say_stopped(
        &self,
        example: &str,
        folder: &RunFolder,
        outcome: &RunOutcome,
        more: Vec<String>,
    ) {
        if outcome.step == 0 {
            say("stopped before the first step; there is nothing to save or to resume");
            return;
        }
        let mut arguments = vec!["--resume".to_owned(), path_flag("--out", folder.path())];
        arguments.extend(more);
        if self.device != DeviceSpec::Auto {
            arguments.push(format!("--device {}", self.device));
        }
        arguments.extend(self.metrics_out.iter().map(|path| path_flag("--metrics-out", path)));
        let command = command(example, &arguments);
        say(format_args!(
            "stopped     after step {} and saved; continue with\n  {command}",
            outcome.step
        ));
    }
}

/// Says what a finished run took.
pub(crate) fn say_trained(outcome: &RunOutcome) {
    let RunOutcome { step, tokens, wall_s, tokens_per_s, .. } = *outcome;
    say(format_args!(
        "\ntrained     {step} steps, {tokens} tokens in {wall_s:.0} s ({tokens_per_s:.0} tokens/s)"
    ));
}

/// Says how to talk with the model.
pub(crate) fn say_next(folder: &Path) {
    say(format_args!("\nnext        {}", command("chat", &[path_flag("--model", folder)])));
}
