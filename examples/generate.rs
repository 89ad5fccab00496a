//! Continues a text: `cargo run --release --example generate -- --model out/demo --prompt "fn main"`.

mod command_line;
#[path = "command_line/loading.rs"]
mod loading;
#[path = "command_line/sampling.rs"]
mod sampling;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use clap::Parser;
use kernels_cubecl::DeviceSpec;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tinyllama_infer::{LoadedModel, Request, Sampler, StopRules, generate_text, locate};

use command_line::{exit_code, say};
use loading::with_bar;
use sampling::{SamplingFlags, report, warn_if_cut};

/// Continue a text
///
/// The text goes to stdout as it is written, everything else to stderr. With --json, stdout gets one
/// object: {"prompt_ids","ids","text","prompt_tokens_per_s","decode_tokens_per_s","ttft_ms"}.
/// `ids` holds the end token if one came; `decode_tokens_per_s` is null for a single token.
#[derive(Parser, Debug)]
struct Args {
    /// Run folder, checkpoint, Hugging Face folder, .gguf file, llama2.c .bin, or hub id (downloaded once)
    #[arg(long, value_name = "PATH")]
    model: String,
    /// Text to continue; without it, the tokenizer's beginning token alone
    #[arg(long, value_name = "TEXT", default_value = "")]
    prompt: String,
    /// Most tokens to write; fewer if the model's context ends before
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    #[command(flatten)]
    flags: SamplingFlags,
    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, value_name = "D", default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Also write the prompt's `logits` f32 [T, V] and `token_ids` i64 [T]
    #[arg(long, value_name = "FILE.safetensors")]
    logits_out: Option<PathBuf>,
    /// Print one JSON object instead of streaming
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let mut sampler = Sampler::new(args.flags.sampling(args.temperature)?)?;
    let device = args.device.resolve()?;
    let model = locate(&args.model)?;
    let loaded = with_bar(&model, |progress| LoadedModel::load_with(&model, &device, progress))?;
    let prompt_ids = loaded.prompt_ids(&args.prompt)?;
    if let Some(path) = &args.logits_out {
        write_logits(path, &prompt_ids, &loaded.logits(&prompt_ids)?)?;
    }
    eprintln!("device: {}", kernels_cubecl::describe(&device));
    let stop =
        StopRules { token_ids: loaded.stop_token_ids.clone(), strings: args.flags.stop.clone() };
    let cancel = AtomicBool::new(false);
    let request = Request {
        prompt_ids: &prompt_ids,
        max_new_tokens: args.max_new_tokens,
        stop: &stop,
        cancel: &cancel,
    };
    let mut stdout = std::io::stdout();
    let stream = |piece: &str| {
        // A reader that went away wants no more text.
        let written = args.json || write!(stdout, "{piece}").and_then(|()| stdout.flush()).is_ok();
        cancel.fetch_or(!written, Ordering::Relaxed);
    };
    let mut context = loaded.context();
    let generation =
        generate_text(&mut context, &loaded.tokenizer, &request, &mut sampler, stream)?;
    let json = if args.json { serde_json::to_string(&generation)? } else { String::new() };
    // Ends the streamed text with a newline, or is the whole of it.
    say(json);
    report(&generation);
    warn_if_cut(&generation);
    Ok(())
}

/// Writes `token_ids` `[T]` and `logits` `[T, V]`.
fn write_logits(path: &Path, ids: &[u32], logits: &[f32]) -> Result<()> {
    let id_bytes: Vec<u8> = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let logit_bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let (length, vocab_size) = (ids.len(), logits.len() / ids.len());
    let tensors = HashMap::from([
        ("token_ids", TensorView::new(Dtype::I64, vec![length], &id_bytes)?),
        ("logits", TensorView::new(Dtype::F32, vec![length, vocab_size], &logit_bytes)?),
    ]);
    safetensors::serialize_to_file(tensors, None, path)
        .map_err(|error| anyhow!("cannot write --logits-out {}: {error}", path.display()))
}
