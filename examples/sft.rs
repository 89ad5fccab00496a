//! Fine-tunes a TinyLlama on chats: `cargo run --release --example sft -- --help`.

#[path = "command_line/cargo.rs"]
mod cargo;
mod command_line;
#[path = "command_line/interrupt.rs"]
mod interrupt;
#[path = "command_line/loading.rs"]
mod loading;
#[path = "command_line/terminal.rs"]
mod terminal;
#[path = "command_line/training.rs"]
mod training;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kernels_cubecl::describe;
use tinyllama_infer::locate;
use tinyllama_model::{ChatTemplate, ModelConfig, Pretrained, Tokenizer, TokenizerError};
use tinyllama_sft::{ChatSource, encode_chats, read_guanaco};
use tinyllama_train::{
    FinalRecord, RunContext, RunFolder, TokenizerFiles, TrainConfig, Trainer, run,
};

use cargo::path_flag;
use command_line::{exit_code, say};
use loading::with_bar;
use training::{RunFlags, say_next, say_trained};

/// Fine-tune all weights of a model on openassistant-guanaco rows.
///
/// The loss covers the assistant's tokens and the stop token after each answer, nothing else. Without
/// --max-steps it takes 200 steps. The result is a run folder that `chat --model` opens.
///
/// Ctrl-C, SIGTERM or the dashboard's `q` stop it after the current step: it saves and says how to
/// continue. A second Ctrl-C stops at once.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  The demo learns to answer, continued after an interruption:
    sft --model out/demo --data chats.jsonl --out out/demo-sft --lr 1e-4
    sft --data chats.jsonl --out out/demo-sft --resume")]
struct Args {
    /// Run folder, checkpoint, Hugging Face folder, .gguf file, llama2.c .bin, or hub id to start from;
    /// blocks become f32. A resumed run goes on with the model in --out
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    model: Option<String>,

    /// File of {"text": "### Human: ...### Assistant: ..."} lines, as those of the dataset
    /// timdettmers/openassistant-guanaco on the Hugging Face hub
    #[arg(long, value_name = "FILE.jsonl")]
    data: PathBuf,

    /// Run folder
    #[arg(long, value_name = "DIR", default_value = "out/sft")]
    out: PathBuf,

    /// Conversations of an optimizer step [default: 8]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Conversations of one pass over the model, a divisor of the batch size: fewer take less memory
    /// and give the same gradient. The CPU makes a pass on every core at once [default: the batch size]
    #[arg(long, value_name = "N")]
    micro_batch_size: Option<usize>,

    /// Learning rate after the warmup; it falls to a tenth [default: 1e-5, the original's for 1.1B]
    #[arg(long, value_name = "LR", allow_negative_numbers = true)]
    lr: Option<f64>,

    #[command(flatten)]
    run: RunFlags,
}

impl Args {
    /// A saved run's settings, or else those of a new one, with the file and the flags laid on them.
    fn config(
        &self,
        saved: Option<&TrainConfig>,
        model: &ModelConfig,
    ) -> anyhow::Result<TrainConfig> {
        let new = || default_config(model);
        let mut config = self.run.settings(saved.cloned().unwrap_or_else(new))?;
        if let Some(batch_size) = self.batch_size {
            (config.batch_size, config.micro_batch_size) = (batch_size, batch_size);
        }
        config.micro_batch_size = self.micro_batch_size.unwrap_or(config.micro_batch_size);
        if let Some(lr) = self.lr {
            (config.peak_lr, config.min_lr) = (lr, lr / 10.0);
        }
        config.validate()?;
        Ok(config)
    }
}

/// 200 steps of 8 conversations, each as long as the model can read.
fn default_config(model: &ModelConfig) -> TrainConfig {
    TrainConfig {
        preset: "sft".to_owned(),
        peak_lr: 1e-5,
        min_lr: 1e-6,
        weight_decay: 0.0,
        sequence_tokens: model.max_position_embeddings,
        model: model.clone(),
        ..TrainConfig::demo()
    }
    .with_max_steps(200)
}

fn main() -> ExitCode {
    exit_code(sft(&Args::parse()))
}

fn sft(args: &Args) -> anyhow::Result<()> {
    let folder = RunFolder::new(&args.out);
    let device = args.run.device.resolve()?;
    let (_lock, checkpoint) = args.run.begin(&folder)?;
    let base = match (&checkpoint, &args.model) {
        (Some(checkpoint), _) => checkpoint.folder.clone(),
        (None, Some(model)) => locate(model)?,
        (None, None) => unreachable!("clap asks for --model or --resume"),
    };
    let Pretrained { config: model_config, tokenizer, tensors, .. } = Pretrained::open(&base)?;
    let tokenizer = tokenizer.ok_or_else(|| TokenizerError::Missing { folder: base.clone() })?;
    let saved = checkpoint.as_ref().map(|checkpoint| &checkpoint.state.config);
    let config = args.config(saved, &model_config)?;
    say(format_args!("device      {}", describe(&device)));
    let metrics = args.run.log(&folder, checkpoint.as_ref(), &config)?;
    let template = ChatTemplate::guanaco();
    let source = chats(args, &template, &tokenizer, &config)?;
    let autodiff = device.autodiff();
    let (mut trainer, earlier_wall_s) = match &checkpoint {
        Some(checkpoint) => {
            (Trainer::resume(config, source, checkpoint, &autodiff)?, checkpoint.state.wall_s)
        }
        None => {
            let model =
                with_bar(&base, |progress| tensors.dense(&model_config, &autodiff, progress))?;
            (Trainer::new(config, model, source)?, 0.0)
        }
    };
    drop(tensors);
    let mut monitor = RunFlags::monitor(metrics)?;
    let context = RunContext {
        folder: &folder,
        files: TokenizerFiles { tokenizer: &tokenizer, chat_template: Some(template.source()) },
        held_out: &[],
        peak_flops: None,
        earlier_wall_s,
    };
    let outcome = run(&mut trainer, context, &mut monitor)?;
    if !outcome.is_finished {
        let data = path_flag("--data", &args.data);
        args.run.say_stopped("sft", &folder, &outcome, vec![data]);
        return Ok(());
    }
    monitor.write_final(&FinalRecord {
        step: outcome.step,
        tokens: outcome.tokens,
        val_loss: None,
        unigram_loss: None,
        bigram_loss: None,
        bits_per_byte: None,
        wall_s: outcome.wall_s,
    })?;
    say_trained(&outcome);
    say_next(folder.path());
    Ok(())
}

/// Reads and encodes the conversations, and says what became of them.
fn chats(
    args: &Args,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    config: &TrainConfig,
) -> anyhow::Result<ChatSource> {
    let chats = read_guanaco(&args.data)?;
    let (samples, counts) = encode_chats(&chats, template, tokenizer, config.sequence_tokens + 1)?;
    say(format_args!(
        "data        {} of {} chats, {} cut to {} tokens, {} without an answer that fits",
        counts.samples,
        chats.len(),
        counts.truncated,
        config.sequence_tokens + 1,
        counts.without_target
    ));
    // Padding is never a target and stands after every real token, so any id will do.
    Ok(ChatSource::new(samples, tokenizer.eos_id().unwrap_or(0), config.seed))
}
