//! Pretrains a TinyLlama: `cargo run --release --example pretrain -- --help`.

#[path = "command_line/cargo.rs"]
mod cargo;
mod command_line;
#[path = "command_line/interrupt.rs"]
mod interrupt;
#[path = "command_line/terminal.rs"]
mod terminal;
#[path = "command_line/training.rs"]
mod training;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::bail;
use burn::tensor::Device;
use clap::Parser;
use kernels_cubecl::describe;
use tinyllama_infer::{Context, Request, Sampler, Sampling, StopRules, generate_text};
use tinyllama_model::TinyLlama;
use tinyllama_train::{
    Baselines, Batch, FinalRecord, MAX_VOCAB_SIZE, ProgressBar, RegistryCorpus, RunContext,
    RunFolder, RunOutcome, ShardSource, TokenizerFiles, TrainConfig, Trainer, TrainingData,
    held_out_batches, prepare_registry_corpus, run,
};

use cargo::path_flag;
use command_line::{exit_code, say};
use training::{RunFlags, say_next, say_trained};

/// Data sets beyond this are not counted for the bigram baseline: the table would not fit in memory.
const MAX_BASELINE_TOKENS: u64 = 1 << 30;

/// Pretrain a TinyLlama from scratch.
///
/// Without arguments: packs the Rust and Markdown files of this project's dependencies that Cargo has
/// unpacked, trains a tokenizer and the demo model on them in a few minutes on a CPU, and compares it
/// with a bigram model.
///
/// Ctrl-C, SIGTERM or the dashboard's `q` stop it after the current step: it saves and says how to
/// continue. A second Ctrl-C stops at once.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  The demo, then a chat with it:
    pretrain
    chat --model out/demo
  Your own text (see `prepare_data --help`), continued after an interruption:
    pretrain --data data/notes --out out/notes
    pretrain --data data/notes --out out/notes --resume")]
struct Args {
    /// Model and settings to start from [default: demo]
    #[arg(long, value_name = "NAME", value_parser = TrainConfig::PRESETS)]
    preset: Option<String>,

    /// Data set made by prepare_data [default: the sources of this project's dependencies]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Run folder [default: out/<preset>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    run: RunFlags,

    /// Peak of the device in TFLOP/s, for the MFU column
    #[arg(long, value_name = "TFLOPS")]
    peak_tflops: Option<f64>,
}

impl Args {
    fn run_folder(&self) -> RunFolder {
        let preset = self.preset.as_deref().unwrap_or("demo");
        RunFolder::new(self.out.clone().unwrap_or_else(|| Path::new("out").join(preset)))
    }

    /// The preset, or else a saved run, with the file and the flags laid on it.
    fn config(&self, saved: Option<&TrainConfig>) -> anyhow::Result<TrainConfig> {
        let base = match (saved, &self.preset) {
            (Some(saved), None) => saved.clone(),
            // Shows, if it differs, as a setting that cannot change.
            (Some(saved), Some(preset)) => TrainConfig { preset: preset.clone(), ..saved.clone() },
            (None, preset) => TrainConfig::preset(preset.as_deref().unwrap_or("demo"))?,
        };
        let config = self.run.settings(base)?;
        config.validate()?;
        Ok(config)
    }

    fn peak_flops(&self) -> anyhow::Result<Option<f64>> {
        match self.peak_tflops {
            Some(peak) if !(peak.is_finite() && peak > 0.0) => {
                bail!("--peak-tflops is {peak}, but must be finite and above 0")
            }
            peak => Ok(peak.map(|tflops| tflops * 1e12)),
        }
    }

    /// The flags that a continued run needs besides those of every run.
    fn own_flags(&self) -> Vec<String> {
        let data = self.data.iter().map(|data| path_flag("--data", data));
        let peak = self.peak_tflops.iter().map(|peak| format!("--peak-tflops {peak}"));
        data.chain(peak).collect()
    }
}

fn main() -> ExitCode {
    exit_code(pretrain(&Args::parse()))
}

fn pretrain(args: &Args) -> anyhow::Result<()> {
    let folder = args.run_folder();
    let device = args.run.device.resolve()?;
    let peak_flops = args.peak_flops()?;
    let (_lock, checkpoint) = args.run.begin(&folder)?;
    let config = args.config(checkpoint.as_ref().map(|checkpoint| &checkpoint.state.config))?;
    say(format_args!("device      {}", describe(&device)));
    let own_data = folder.path().join("data");
    let data_folder = match (&args.data, &checkpoint) {
        (Some(data), _) => data.clone(),
        // As it was when the run began, whatever packages Cargo has unpacked since.
        (None, Some(_)) if own_data.exists() => own_data,
        (None, Some(_)) => {
            bail!("the run in {} was started with --data DIR; repeat that", folder.path().display())
        }
        (None, None) => registry_data(&config, &own_data)?,
    };
    let data = TrainingData::open(&data_folder)?;
    let config = config.with_tokenizer(&data.tokenizer)?;
    let metrics = args.run.log(&folder, checkpoint.as_ref(), &config)?;
    let held_out = held_out_batches(
        &data.validation,
        config.sequence_tokens,
        config.eval_sequences,
        config.micro_batch_size,
    )?;
    let baselines = baselines(&data, &held_out)?;
    let source = ShardSource::new(data.train.clone(), config.sequence_tokens, config.seed)?;
    let autodiff = device.autodiff();
    let (mut trainer, earlier_wall_s) = match &checkpoint {
        Some(checkpoint) => {
            let trainer = Trainer::resume(config.clone(), source, checkpoint, &autodiff)?;
            (trainer, checkpoint.state.wall_s)
        }
        None => (fresh(&config, source, &autodiff)?, 0.0),
    };
    let mut monitor = RunFlags::monitor(metrics)?;
    let context = RunContext {
        folder: &folder,
        files: TokenizerFiles { tokenizer: &data.tokenizer, chat_template: None },
        held_out: &held_out,
        peak_flops,
        earlier_wall_s,
    };
    let outcome = run(&mut trainer, context, &mut monitor)?;
    if !outcome.is_finished {
        args.run.say_stopped("pretrain", &folder, &outcome, args.own_flags());
        return Ok(());
    }
    let record = final_record(&outcome, &data, baselines);
    monitor.write_final(&record)?;
    say_trained(&outcome);
    print_report(&record);
    print_sample(&trainer.model(), &data, &held_out)?;
    say_next(folder.path());
    Ok(())
}

fn fresh(
    config: &TrainConfig,
    source: ShardSource,
    autodiff: &Device,
) -> anyhow::Result<Trainer<ShardSource>> {
    say(format_args!("model       {} parameters", config.model.num_parameters()));
    let model = TinyLlama::init(&config.model, autodiff, config.seed);
    Ok(Trainer::new(config.clone(), model, source)?)
}

/// Packs the registry corpus, or finds it packed.
fn registry_data(config: &TrainConfig, folder: &Path) -> anyhow::Result<PathBuf> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let corpus = RegistryCorpus::open(&lock, None)?;
    let vocab_size = config.model.vocab_size.min(MAX_VOCAB_SIZE);
    let prepared = prepare_registry_corpus(&corpus, folder, vocab_size, &ProgressBar::new(0))?;
    let megabytes = (prepared.train.text_bytes + prepared.validation.text_bytes) as f64 / 1e6;
    say(format_args!(
        "corpus      {megabytes:.1} MB, the {} of {} packages that Cargo has unpacked, sha256 {}",
        prepared.registry.key.num_packages,
        prepared.registry.num_lock_packages,
        prepared.registry.sha256
    ));
    Ok(prepared.folder)
}

/// Counts the training split and says what there is to beat.
fn baselines(data: &TrainingData, held_out: &[Batch]) -> anyhow::Result<Option<Baselines>> {
    let (train, validation) = (data.train.size(), data.validation.size());
    say(format_args!(
        "tokens      {} to train on, {} held out, vocabulary {}",
        train.num_tokens,
        validation.num_tokens,
        data.tokenizer.vocab_size()
    ));
    if train.num_tokens > MAX_BASELINE_TOKENS {
        return Ok(None);
    }
    let baselines = Baselines::of(&data.train, held_out)?;
    if let Some(Baselines { unigram_loss, bigram_loss }) = baselines {
        say(format_args!(
            "to beat     unigrams {unigram_loss:.4}, Kneser-Ney bigrams {bigram_loss:.4} nats/token"
        ));
    }
    Ok(baselines)
}

fn final_record(
    outcome: &RunOutcome,
    data: &TrainingData,
    baselines: Option<Baselines>,
) -> FinalRecord {
    let bits_per_byte = |loss| data.validation.size().bits_per_byte(loss);
    FinalRecord {
        step: outcome.step,
        tokens: outcome.tokens,
        val_loss: outcome.val_loss,
        unigram_loss: baselines.map(|baselines| baselines.unigram_loss),
        bigram_loss: baselines.map(|baselines| baselines.bigram_loss),
        bits_per_byte: outcome.val_loss.map(bits_per_byte),
        wall_s: outcome.wall_s,
    }
}

fn print_report(record: &FinalRecord) {
    let FinalRecord { val_loss, bigram_loss, bits_per_byte, .. } = *record;
    if let Some((loss, bits)) = val_loss.zip(bits_per_byte) {
        say(format_args!("held out    {loss:.4} nats/token, {bits:.4} bits/byte"));
    }
    if let Some((loss, bigram_loss)) = val_loss.zip(bigram_loss) {
        let verdict = if loss < bigram_loss { "better" } else { "worse" };
        say(format_args!(
            "            {:.4} nats/token {verdict} than bigrams",
            (bigram_loss - loss).abs()
        ));
    }
}

/// Lets the model continue the beginning of a held-out sequence.
fn print_sample(model: &TinyLlama, data: &TrainingData, held_out: &[Batch]) -> anyhow::Result<()> {
    const PROMPT_TOKENS: usize = 24;
    let Some(batch) = held_out.first() else { bail!("no held-out sequence to continue") };
    let tokens = batch.pairs().map(|(token, _)| token);
    let prompt_ids: Vec<u32> =
        tokens.take(PROMPT_TOKENS.min(batch.sequence_tokens() / 2)).collect();
    let request = Request {
        prompt_ids: &prompt_ids,
        max_new_tokens: 80,
        stop: &StopRules::default(),
        cancel: &AtomicBool::new(false),
    };
    let mut sampler = Sampler::new(Sampling { temperature: 0.7, ..Sampling::unfiltered(0) })?;
    let mut context = Context::new(model);
    say(format_args!("\nprompt      {:?}", data.tokenizer.decode(&prompt_ids)?));
    let sample = generate_text(&mut context, &data.tokenizer, &request, &mut sampler, |_| {})?;
    say(format_args!("continued   {:?}", sample.text));
    Ok(())
}
