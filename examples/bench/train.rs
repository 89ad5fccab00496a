//! Times training steps on tokens that are made up but can be learned.

use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::Args;
use kernels_cubecl::{DeviceSpec, describe};
use serde_json::{Value, json};
use tinyllama_model::TinyLlama;
use tinyllama_train::{Batch, BatchSource, SourceError, TrainConfig, Trainer};

use crate::command_line::say;

#[derive(Args, Debug)]
pub(crate) struct Train {
    /// demo, tinyllama-120m or tinyllama-1.1b
    #[arg(long, default_value = "demo")]
    preset: String,
    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
    /// Sequences that pass through the model at once; a step is one such batch
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// Tokens of a sequence; without it, those of the preset
    #[arg(long, value_name = "N")]
    sequence_tokens: Option<usize>,
    /// Steps that are timed, after the first and two more
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Steps before the clock starts: the first compiles kernels, the next ones fill the memory pool.
const WARM_UP: usize = 2;

/// A random walk: each token has eight successors, which its number gives. A model that learns them all
/// has a loss of ln 8; the curve on one device is that on another.
struct RandomWalk {
    state: u64,
    vocab_size: u64,
    sequence_tokens: usize,
}

impl BatchSource for RandomWalk {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        let mut token = 0;
        let mut next = || {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            token = (5 * token + (self.state >> 33) % 8) % self.vocab_size;
            token as u32
        };
        let windows: Vec<u32> =
            (0..num_sequences * (self.sequence_tokens + 1)).map(|_| next()).collect();
        Ok(Batch::from_windows(&windows, self.sequence_tokens))
    }

    fn state(&self) -> Value {
        self.state.into()
    }

    fn restore(&mut self, state: &Value) -> Result<(), SourceError> {
        self.state = state.as_u64().ok_or("the state is no number")?;
        Ok(())
    }
}

/// Times the steps and prints tokens per second.
pub(crate) fn train(args: &Train) -> Result<()> {
    if args.steps == 0 {
        bail!("--steps is 0; give at least 1");
    }
    let device: Device = args.device.resolve()?;
    let preset = TrainConfig::preset(&args.preset)?;
    let micro_batch = args.micro_batch.unwrap_or(preset.micro_batch_size);
    let sequence_tokens = args.sequence_tokens.unwrap_or(preset.sequence_tokens);
    let config = TrainConfig {
        batch_size: micro_batch,
        micro_batch_size: micro_batch,
        sequence_tokens,
        ..preset
    }
    .with_max_steps((1 + WARM_UP + args.steps) as u64);
    config.validate()?;
    let source =
        RandomWalk { state: 1, vocab_size: config.model.vocab_size as u64, sequence_tokens };
    let start = Instant::now();
    let model = TinyLlama::init(&config.model, &device.clone().autodiff(), 0);
    let parameters = config.model.num_parameters();
    let mut trainer = Trainer::new(config, model, source)?;
    device.sync()?;
    let init_s = start.elapsed().as_secs_f64();
    let mut timed = || -> Result<(f64, f64)> {
        let start = Instant::now();
        let loss = trainer.step()?.loss;
        device.sync()?;
        Ok((start.elapsed().as_secs_f64(), loss))
    };
    let (first_step_s, first_loss) = timed()?;
    if !args.json {
        say(describe(&device));
        say(format_args!("model made in {init_s:.1} s, first step in {first_step_s:.1} s"));
    }
    for _ in 0..WARM_UP {
        timed()?;
    }
    let mut steps = (0..args.steps).map(|_| timed()).collect::<Result<Vec<_>>>()?;
    let losses: Vec<f64> = steps.iter().map(|(_, loss)| *loss).collect();
    let last_loss = losses[args.steps - 1];
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tokens = (micro_batch * sequence_tokens) as f64;
    let rate = |share: f64| tokens / steps[((args.steps - 1) as f64 * share).round() as usize].0;
    let (slow, median, fast) = (rate(0.95), rate(0.5), rate(0.05));
    if args.json {
        say(json!({
            "preset": args.preset, "micro_batch": micro_batch, "sequence_tokens": sequence_tokens,
            "parameters": parameters, "init_s": init_s, "first_step_s": first_step_s,
            "tokens_per_s": {"p5": slow, "median": median, "p95": fast},
            "first_loss": first_loss, "losses": losses,
        }));
    } else {
        say(format_args!("{median:.0} tokens/s (5 % {slow:.0}, 95 % {fast:.0})"));
        say(format_args!("loss {first_loss:.4} to {last_loss:.4}"));
    }
    Ok(())
}
