//! Pretrains a TinyLlama: `cargo run --release --example pretrain -- --help`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};
use burn::tensor::Device;
use burn_train::Interrupter;
use clap::Parser;
use indicatif::ProgressBar;
use kernels_cubecl::{DeviceSpec, describe};
use tinyllama_infer::{Context, Request, Sampler, Sampling, StopRules, generate_text};
use tinyllama_model::TinyLlama;
use tinyllama_train::{
    Baselines, Batch, FinalRecord, MAX_VOCAB_SIZE, MetricsFile, Monitor, RegistryCorpus,
    RunContext, RunFolder, RunOutcome, ShardSource, TokenizerFiles, TrainConfig, Trainer,
    TrainingData, held_out_batches, prepare_registry_corpus, run,
};

/// Data sets beyond this are not counted for the bigram baseline: the table would not fit in memory.
const MAX_BASELINE_TOKENS: u64 = 1 << 30;

/// Pretrain a TinyLlama from scratch.
///
/// Without arguments: packs the Rust sources of this project's dependencies, trains a tokenizer and
/// the demo model on them in a few minutes on a CPU, and compares it with a bigram model.
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

    /// TOML file whose settings replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,

    /// Data set made by prepare_data [default: the sources of this project's dependencies]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Run folder [default: out/<preset>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Length of the run in optimizer steps; the warmup takes at most a tenth of it
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,

    /// Steps between two checkpoints
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,

    /// Continue the run in --out from its newest complete checkpoint
    #[arg(long)]
    resume: bool,

    /// Seed of the first weights and of the data's order
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// auto, cpu, cuda[:N], vulkan[:N] or wgpu[:N]
    #[arg(long, value_name = "D", default_value = "auto")]
    device: DeviceSpec,

    /// Write a JSON line per logged step
    #[arg(long, value_name = "FILE.jsonl")]
    metrics_out: Option<PathBuf>,

    /// Peak of the device in TFLOP/s, for the MFU column
    #[arg(long, value_name = "TFLOPS")]
    peak_tflops: Option<f64>,
}

impl Args {
    fn run_folder(&self) -> RunFolder {
        let preset = self.preset.as_deref().unwrap_or("demo");
        RunFolder::new(self.out.clone().unwrap_or_else(|| Path::new("out").join(preset)))
    }

    /// The flags and the file laid on `base`.
    fn config(&self, mut base: TrainConfig) -> anyhow::Result<TrainConfig> {
        if let Some(preset) = &self.preset {
            base.preset.clone_from(preset);
        }
        if let Some(path) = &self.config {
            base = base.with_file(path)?;
        }
        if let Some(max_steps) = self.max_steps {
            base = base.with_max_steps(max_steps);
        }
        base.save_every_steps = self.save_every.unwrap_or(base.save_every_steps);
        base.seed = self.seed.unwrap_or(base.seed);
        base.validate()?;
        Ok(base)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = args.run_folder();
    let device = args.device.resolve()?;
    let saved = args.resume.then(|| folder.saved_config()).transpose()?;
    let base = match &saved {
        Some(saved) => saved.clone(),
        None => {
            folder.require_new()?;
            TrainConfig::preset(args.preset.as_deref().unwrap_or("demo"))?
        }
    };
    let config = args.config(base)?;
    println!("device      {}", describe(&device));
    let data_folder = match &args.data {
        Some(data) => data.clone(),
        None => registry_data(&config, &folder.path().join("data"))?,
    };
    let data = TrainingData::open(&data_folder)?;
    let config = config.with_tokenizer(&data.tokenizer)?;
    if let Some(saved) = &saved {
        folder.require_unchanged(saved, &config)?;
    }
    let held_out = held_out_batches(
        &data.validation,
        config.sequence_tokens,
        config.eval_sequences,
        config.micro_batch_size,
    )?;
    let baselines = baselines(&data, &held_out)?;
    let (mut trainer, earlier_wall_s) = trainer(&config, &data, &folder, &device, args.resume)?;
    let interrupter = Interrupter::new();
    let stop = interrupter.clone();
    ctrlc::set_handler(move || stop.stop(Some("Ctrl-C"))).context("listening to Ctrl-C")?;
    let metrics = args.metrics_out.as_deref().map(|path| match args.resume {
        true => MetricsFile::append(path),
        false => MetricsFile::create(path),
    });
    let mut monitor = Monitor::for_terminal(interrupter, metrics.transpose()?);
    let context = RunContext {
        folder: &folder,
        files: TokenizerFiles { tokenizer: &data.tokenizer, chat_template: None },
        held_out: &held_out,
        peak_flops: args.peak_tflops.map(|tflops| tflops * 1e12),
        earlier_wall_s,
    };
    let outcome = run(&mut trainer, context, &mut monitor)?;
    if !outcome.is_finished {
        let (step, out) = (outcome.step, folder.path().display());
        println!(
            "stopped after step {step} and saved; continue with: pretrain --out {out} --resume"
        );
        return Ok(());
    }
    let record = final_record(&outcome, &data, baselines);
    monitor.write_final(&record)?;
    print_report(&record, outcome.tokens_per_s);
    print_sample(&trainer.model(), &data, &held_out)?;
    println!(
        "\nnext        cargo run --release --example chat -- --model {}",
        folder.path().display()
    );
    Ok(())
}

/// Packs the registry corpus, or finds it packed.
fn registry_data(config: &TrainConfig, folder: &Path) -> anyhow::Result<PathBuf> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let corpus = RegistryCorpus::open(&lock, None)?;
    let vocab_size = config.model.vocab_size.min(MAX_VOCAB_SIZE);
    let prepared = prepare_registry_corpus(&corpus, folder, vocab_size, &ProgressBar::new(0))?;
    let megabytes = (prepared.train.text_bytes + prepared.validation.text_bytes) as f64 / 1e6;
    println!(
        "corpus      {megabytes:.1} MB of {} packages, sha256 {}",
        prepared.registry.key.num_packages, prepared.registry.sha256
    );
    Ok(prepared.folder)
}

/// Counts the training split and says what there is to beat.
fn baselines(data: &TrainingData, held_out: &[Batch]) -> anyhow::Result<Option<Baselines>> {
    let (train, validation) = (data.train.size(), data.validation.size());
    println!(
        "tokens      {} to train on, {} held out, vocabulary {}",
        train.num_tokens,
        validation.num_tokens,
        data.tokenizer.vocab_size()
    );
    if train.num_tokens > MAX_BASELINE_TOKENS {
        return Ok(None);
    }
    let baselines = Baselines::of(&data.train, held_out)?;
    if let Some(Baselines { unigram_loss, bigram_loss }) = baselines {
        println!(
            "to beat     unigrams {unigram_loss:.4}, Kneser-Ney bigrams {bigram_loss:.4} nats/token"
        );
    }
    Ok(baselines)
}

/// A fresh trainer or the newest checkpoint's, and the seconds the run has taken so far.
fn trainer(
    config: &TrainConfig,
    data: &TrainingData,
    folder: &RunFolder,
    device: &Device,
    resume: bool,
) -> anyhow::Result<(Trainer<ShardSource>, f64)> {
    let source = ShardSource::new(data.train.clone(), config.sequence_tokens, config.seed)?;
    let autodiff = device.clone().autodiff();
    if !resume {
        println!("model       {} parameters", config.model.num_parameters());
        let model = TinyLlama::init(&config.model, &autodiff, config.seed);
        return Ok((Trainer::new(config.clone(), model, source)?, 0.0));
    }
    let checkpoint = folder.load_newest(&autodiff, |damaged| {
        eprintln!("{damaged}; trying the checkpoint before it");
    })?;
    let state = checkpoint.state;
    println!("resuming    {} at step {}", checkpoint.folder.display(), state.step);
    let trainer = Trainer::resume(
        config.clone(),
        checkpoint.model,
        source,
        checkpoint.moments,
        &state.position(),
    )?;
    Ok((trainer, state.wall_s))
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

fn print_report(record: &FinalRecord, tokens_per_s: f64) {
    let FinalRecord { step, tokens, wall_s, val_loss, bigram_loss, bits_per_byte, .. } = *record;
    println!(
        "\ntrained     {step} steps, {tokens} tokens in {wall_s:.0} s ({tokens_per_s:.0} tokens/s)"
    );
    if let Some((loss, bits)) = val_loss.zip(bits_per_byte) {
        println!("held out    {loss:.4} nats/token, {bits:.4} bits/byte");
    }
    if let Some((loss, bigram_loss)) = val_loss.zip(bigram_loss) {
        let verdict = if loss < bigram_loss { "better" } else { "worse" };
        println!("            {:.4} nats/token {verdict} than bigrams", (bigram_loss - loss).abs());
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
    println!("\nprompt      {:?}", data.tokenizer.decode(&prompt_ids)?);
    let sample = generate_text(&mut context, &data.tokenizer, &request, &mut sampler, |_| {})?;
    println!("continued   {:?}", sample.text);
    Ok(())
}
