//! TinyLlama under burn-train's own `Learner`: `cargo run --release --example learner -- --help`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn_train::metric::LossMetric;
use burn_train::{Learner, SupervisedTraining};
use clap::Parser;
use indicatif::ProgressBar;
use kernels_cubecl::DeviceSpec;
use tinyllama_model::{ModelConfig, TinyLlama, weights};
use tinyllama_train::{
    LearnerBatch, LearnerLlama, RegistryCorpus, TokenShards, TrainingData, WindowBatcher,
    WindowDataset, prepare_registry_corpus,
};

/// Train a very small TinyLlama with burn-train's Learner instead of this project's trainer.
///
/// It shows that the model fits into Burn's own tools: a data loader, an optimizer, a schedule, a
/// metric and a renderer (a dashboard on a terminal). For real runs use `pretrain`.
#[derive(Parser)]
struct Args {
    /// Data set made by prepare_data [default: the sources of this project's dependencies, 20 MB]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Folder of the logs and the model
    #[arg(long, value_name = "DIR", default_value = "out/learner")]
    out: PathBuf,

    /// Optimizer steps, one epoch together
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_steps: usize,

    /// auto, cpu, cuda[:N], vulkan[:N] or wgpu[:N]
    #[arg(long, value_name = "D", default_value = "auto")]
    device: DeviceSpec,
}

const BATCH_SIZE: usize = 8;
const SEQUENCE_TOKENS: usize = 64;
const VOCAB_SIZE: usize = 512;
const CORPUS_BYTES: u64 = 20_000_000;
const SEED: u64 = 3407;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = args.device.resolve()?.autodiff();
    let folder = match args.data {
        Some(folder) => folder,
        None => registry_data(&args.out.join("data"))?,
    };
    let data = TrainingData::open(&folder)?;
    let config = ModelConfig {
        vocab_size: data.tokenizer.vocab_size(),
        hidden_size: 64,
        intermediate_size: 172,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        bos_token_id: data.tokenizer.bos_id(),
        eos_token_id: data.tokenizer.eos_id(),
        ..ModelConfig::demo()
    };
    let model = LearnerLlama { model: TinyLlama::init(&config, &device, SEED) };
    let optimizer = AdamWConfig::new().with_beta_2(0.95).with_weight_decay(0.1).init();
    let schedule = CosineAnnealingLrSchedulerConfig::new(3e-3, args.max_steps.max(1))
        .init()
        .map_err(anyhow::Error::msg)?;
    let train = loader(data.train, args.max_steps * BATCH_SIZE, &device);
    let valid = loader(data.validation, 4 * BATCH_SIZE, &device.clone().inner());
    let result = SupervisedTraining::new(&args.out, train, valid)
        .num_epochs(1)
        .metrics((LossMetric::new(),))
        .summary()
        .launch(Learner::new(model, optimizer, schedule));
    if let Some(error) = result.error {
        anyhow::bail!("training stopped: {error}");
    }
    weights::save(&result.model.model, &args.out)?;
    data.tokenizer.save(&args.out, None)?;
    println!("saved {}", args.out.display());
    Ok(())
}

fn loader(
    shards: Arc<TokenShards>,
    max_windows: usize,
    device: &Device,
) -> Arc<dyn DataLoader<LearnerBatch>> {
    DataLoaderBuilder::new(WindowBatcher)
        .batch_size(BATCH_SIZE)
        .shuffle(SEED)
        .set_device(device.clone())
        .build(WindowDataset::new(shards, SEQUENCE_TOKENS, max_windows))
}

/// Packs the beginning of the registry corpus, or finds it packed.
fn registry_data(folder: &Path) -> anyhow::Result<PathBuf> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let corpus = RegistryCorpus::open(&lock, Some(CORPUS_BYTES))?;
    Ok(prepare_registry_corpus(&corpus, folder, VOCAB_SIZE, &ProgressBar::new(0))?.folder)
}
