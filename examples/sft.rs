//! Fine-tunes a TinyLlama on chats: `cargo run --release --example sft -- --help`.

use std::path::PathBuf;

use anyhow::Context;
use burn_train::Interrupter;
use clap::Parser;
use kernels_cubecl::{DeviceSpec, describe};
use tinyllama_infer::locate;
use tinyllama_model::{ChatTemplate, Tokenizer, weights};
use tinyllama_sft::{ChatSource, encode_chats, read_guanaco};
use tinyllama_train::{
    FinalRecord, MetricsFile, Monitor, RunContext, RunFolder, TokenizerFiles, TrainConfig, Trainer,
    run,
};

/// Fine-tune all weights of a model on openassistant-guanaco rows.
///
/// The loss covers the assistant's tokens and the stop token after each answer, nothing else. The
/// result is a run folder that `chat --model` opens.
#[derive(Parser)]
struct Args {
    /// Run folder, checkpoint, Hugging Face folder, or hub id to start from
    #[arg(long, value_name = "PATH")]
    model: String,

    /// File of {"text": "### Human: ...### Assistant: ..."} lines
    #[arg(long, value_name = "FILE.jsonl")]
    data: PathBuf,

    /// Run folder
    #[arg(long, value_name = "DIR", default_value = "out/sft")]
    out: PathBuf,

    /// Length of the run in optimizer steps
    #[arg(long, value_name = "N", default_value_t = 200)]
    max_steps: u64,

    /// Conversations of an optimizer step
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,

    /// Learning rate after the warmup; the original took 1e-5 for the 1.1B model
    #[arg(long, value_name = "LR", default_value_t = 1e-5)]
    lr: f64,

    /// Seed of the conversations' order
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// auto, cpu, cuda[:N], vulkan[:N] or wgpu[:N]
    #[arg(long, value_name = "D", default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,

    /// Write a JSON line per logged step
    #[arg(long, value_name = "FILE.jsonl")]
    metrics_out: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = args.device.resolve()?;
    println!("device      {}", describe(&device));
    let base = locate(&args.model)?;
    let tokenizer = Tokenizer::from_folder(&base)?;
    let model = weights::load(&base, &device.clone().autodiff())?;
    let config = TrainConfig {
        preset: "sft".to_owned(),
        seed: args.seed,
        batch_size: args.batch_size,
        micro_batch_size: args.batch_size,
        peak_lr: args.lr,
        min_lr: args.lr / 10.0,
        weight_decay: 0.0,
        sequence_tokens: model.config().max_position_embeddings,
        model: model.config().clone(),
        ..TrainConfig::demo()
    }
    .with_max_steps(args.max_steps);

    let template = ChatTemplate::guanaco();
    let chats = read_guanaco(&args.data)?;
    let (samples, counts) =
        encode_chats(&chats, &template, &tokenizer, config.sequence_tokens + 1)?;
    println!(
        "data        {} of {} chats, {} cut to {} tokens, {} without an answer that fits",
        counts.samples,
        chats.len(),
        counts.truncated,
        config.sequence_tokens,
        counts.without_target
    );
    // Padding is never a target and stands after every real token, so any id will do.
    let source = ChatSource::new(samples, tokenizer.eos_id().unwrap_or(0), args.seed);

    let folder = RunFolder::new(args.out);
    folder.require_new()?;
    let mut trainer = Trainer::new(config, model, source)?;
    let interrupter = Interrupter::new();
    let stop = interrupter.clone();
    ctrlc::set_handler(move || stop.stop(Some("Ctrl-C"))).context("listening to Ctrl-C")?;
    let metrics = args.metrics_out.as_deref().map(MetricsFile::create).transpose()?;
    let mut monitor = Monitor::for_terminal(interrupter, metrics);
    let context = RunContext {
        folder: &folder,
        files: TokenizerFiles { tokenizer: &tokenizer, chat_template: Some(template.source()) },
        held_out: &[],
        peak_flops: None,
        earlier_wall_s: 0.0,
    };
    let outcome = run(&mut trainer, context, &mut monitor)?;
    monitor.write_final(&FinalRecord {
        step: outcome.step,
        tokens: outcome.tokens,
        val_loss: None,
        unigram_loss: None,
        bigram_loss: None,
        bits_per_byte: None,
        wall_s: outcome.wall_s,
    })?;
    println!(
        "next        cargo run --release --example chat -- --model {}",
        folder.path().display()
    );
    Ok(())
}
