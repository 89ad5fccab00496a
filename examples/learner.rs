//! TinyLlama under burn-train's own `Learner`: `cargo run --release --example learner -- --help`.

#[path = "command_line/cargo.rs"]
mod cargo;
mod command_line;
#[path = "command_line/interrupt.rs"]
mod interrupt;
#[path = "command_line/terminal.rs"]
mod terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::transform::{SamplerDataset, SamplerDatasetOptions};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::Module;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn_train::metric::{LearningRateMetric, LossMetric};
use burn_train::{Learner, SupervisedTraining};
use clap::Parser;
use kernels_cubecl::{DeviceSpec, describe};
use tinyllama_model::{ModelConfig, TinyLlama, weights};
use tinyllama_train::{
    Baselines, Interrupter, LearnerBatch, LearnerLlama, ProgressBar, RegistryCorpus, TokenShards,
    TrainingData, WindowBatcher, WindowDataset, held_out_batches, mean_nll,
    prepare_registry_corpus, terminal_renderer,
};

use cargo::{command, path_flag};
use command_line::{exit_code, say};
use interrupt::listen;
use terminal::pass_signals_through_dashboard;

/// Train a very small TinyLlama with burn-train's Learner instead of this project's trainer.
///
/// It shows that the model fits into Burn's own tools: a sampled data set, a data loader, an
/// optimizer, a schedule, metrics and a renderer (a dashboard on a terminal, lines elsewhere). It
/// takes less than a minute on two CPU cores. For real runs use `pretrain`.
#[derive(Parser)]
struct Args {
    /// Data set made by prepare_data [default: the sources of this project's dependencies, 20 MB]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Folder of the logs and the model
    #[arg(long, value_name = "DIR", default_value = "out/learner")]
    out: PathBuf,

    /// Optimizer steps, in four epochs
    #[arg(long, value_name = "N", default_value_t = 400)]
    max_steps: usize,

    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, value_name = "D", default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
}

const EPOCHS: usize = 4;
const BATCH_SIZE: usize = 16;
const SEQUENCE_TOKENS: usize = 64;
const HELD_OUT_SEQUENCES: usize = 128;
const VOCAB_SIZE: usize = 512;
const CORPUS_BYTES: u64 = 20_000_000;
const SEED: u64 = 3407;

fn main() -> ExitCode {
    exit_code(learn(&Args::parse()))
}

fn learn(args: &Args) -> anyhow::Result<()> {
    let steps_per_epoch = args.max_steps / EPOCHS;
    if steps_per_epoch == 0 {
        bail!(
            "--max-steps is {}, but must be at least {EPOCHS}, one for each epoch",
            args.max_steps
        );
    }
    let device = args.device.resolve()?;
    say(format_args!("device      {}", describe(&device)));
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => registry_data(&args.out.join("data"))?,
    };
    let data = TrainingData::open(&folder)?;
    let held_out =
        held_out_batches(&data.validation, SEQUENCE_TOKENS, HELD_OUT_SEQUENCES, BATCH_SIZE)?;
    let autodiff = device.clone().autodiff();
    let model = TinyLlama::init(&model_config(&data), &autodiff, SEED);
    let held_out_loss =
        |model: &TinyLlama| mean_nll(model, &held_out, &device).expect("windows have targets");
    let untrained = held_out_loss(&model.valid());

    let optimizer = AdamWConfig::new().with_beta_2(0.95).with_weight_decay(0.1).init();
    let schedule = CosineAnnealingLrSchedulerConfig::new(3e-3, args.max_steps)
        .init()
        .map_err(anyhow::Error::msg)?;
    let train = loader(&data.train, steps_per_epoch * BATCH_SIZE, &autodiff)?;
    let valid = loader(&data.validation, HELD_OUT_SEQUENCES, &device)?;
    let interrupter = Interrupter::new();
    listen(&interrupter)?;
    let (renderer, has_dashboard) = terminal_renderer(&interrupter);
    if has_dashboard {
        pass_signals_through_dashboard();
    }
    let result = SupervisedTraining::new(&args.out, train, valid)
        .num_epochs(EPOCHS)
        .metrics((LossMetric::new(),))
        .metric_train_numeric(LearningRateMetric::new())
        .with_interrupter(interrupter)
        .renderer(renderer)
        .launch(Learner::new(LearnerLlama { model }, optimizer, schedule));
    // The dashboard leaves the terminal when it is dropped.
    drop(result.renderer);
    if let Some(error) = result.error {
        bail!("training stopped: {error}");
    }
    let model = result.model.model;
    weights::save(&model, &args.out)?;
    data.tokenizer.save(&args.out, None)?;
    say("\nheld-out loss in nats/token, where less is better");
    say(format_args!("  untrained   {untrained:.4}"));
    say(format_args!("  trained     {:.4}", held_out_loss(&model)));
    if let Some(Baselines { unigram_loss, bigram_loss }) = Baselines::of(&data.train, &held_out)? {
        say(format_args!("  unigrams    {unigram_loss:.4}, the frequencies of single tokens"));
        say(format_args!("  bigrams     {bigram_loss:.4}, the frequencies of pairs"));
    }
    let flags = [path_flag("--model", &args.out), "--prompt 'pub fn'".to_owned()];
    say(format_args!("\nnext        {}", command("generate", &flags)));
    Ok(())
}

fn model_config(data: &TrainingData) -> ModelConfig {
    ModelConfig {
        vocab_size: data.tokenizer.vocab_size(),
        hidden_size: 64,
        intermediate_size: 172,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        bos_token_id: data.tokenizer.bos_id(),
        eos_token_id: data.tokenizer.eos_id(),
        ..ModelConfig::demo()
    }
}

/// Random windows of a split, as many as an epoch takes.
fn loader(
    shards: &Arc<TokenShards>,
    windows: usize,
    device: &Device,
) -> anyhow::Result<Arc<dyn DataLoader<LearnerBatch>>> {
    let all = WindowDataset::new(shards.clone(), SEQUENCE_TOKENS, usize::MAX);
    let options = SamplerDatasetOptions::from(windows).with_seed(SEED);
    Ok(DataLoaderBuilder::new(WindowBatcher)
        .batch_size(BATCH_SIZE)
        .set_device(device.clone())
        .build(SamplerDataset::new(all, options)))
}

/// Packs the beginning of the registry corpus, or finds it packed.
fn registry_data(folder: &Path) -> anyhow::Result<PathBuf> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let corpus = RegistryCorpus::open(&lock, Some(CORPUS_BYTES))?;
    Ok(prepare_registry_corpus(&corpus, folder, VOCAB_SIZE, &ProgressBar::new(0))?.folder)
}
