//! Writes a model in another form: `cargo run --release --example convert -- --model A --out B`.

mod command_line;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use kernels_cubecl::Format;
use tinyllama_infer::locate;
use tinyllama_model::{ExportFormat, Pretrained};

use command_line::{exit_code, say};

/// Convert a model between Hugging Face folders, GGUF files and llama2.c checkpoints
///
/// Reads whatever chat and generate read: a folder with safetensors or pytorch_model.bin, a run folder,
/// a .gguf file, a .bin of llama2.c, a hub id. Writes a folder that transformers opens, or a .gguf file
/// that llama.cpp runs, with configuration, tokenizer and chat template. Without --dtype and --quantize
/// every tensor keeps its bits, as far as the new form has its format.
#[derive(Parser, Debug)]
struct Args {
    /// What to convert: a path or a hub id, as for chat
    #[arg(long, value_name = "PATH")]
    model: String,
    /// Where to write: a new or empty folder, or a new file ending in .gguf
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Form to write; without it, gguf if --out ends in .gguf and safetensors if not
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Blocks for the matrices of a GGUF file; q4_0 leaves the embedding and the head in q8_0
    #[arg(long, value_enum, conflicts_with = "dtype")]
    quantize: Option<Quantize>,
    /// Plain float of all tensors, but for norms, which are f32 in GGUF
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Safetensors,
    Gguf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Quantize {
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let is_gguf_name = args.out.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let output = args.format.unwrap_or(match is_gguf_name {
        true => OutputFormat::Gguf,
        false => OutputFormat::Safetensors,
    });
    if output == OutputFormat::Gguf && !is_gguf_name {
        bail!("--out {}: a GGUF file's name ends in .gguf", args.out.display());
    }
    if output == OutputFormat::Safetensors && args.quantize.is_some() {
        bail!("--quantize writes blocks, which safetensors has not; use --format gguf, or --dtype");
    }
    let dtype = args.dtype.map(|dtype| match dtype {
        Dtype::F32 => Format::F32,
        Dtype::F16 => Format::F16,
        Dtype::Bf16 => Format::Bf16,
    });
    let quantize = args.quantize.map(|quantize| match quantize {
        Quantize::Q4_0 => Format::Q4_0,
        Quantize::Q8_0 => Format::Q8_0,
    });
    require_new(args, output)?;
    let source = locate(&args.model)?;
    let pretrained = Pretrained::open(&source)?;
    match output {
        OutputFormat::Safetensors => {
            pretrained.save_folder(&args.out, dtype)?;
        }
        OutputFormat::Gguf => {
            if let Some((name, columns)) =
                quantize.and_then(|format| pretrained.unquantizable(format))
            {
                eprintln!(
                    "warning: rows of {columns} elements are no whole blocks of 32, so that `{name}` and \
                     tensors like it stay plain floats"
                );
            }
            pretrained.save_gguf(&args.out, ExportFormat { dtype, quantize })?;
        }
    }
    if pretrained.tokenizer.is_none() {
        eprintln!("warning: {} has no tokenizer, so that the copy has none", source.display());
    }
    say(format_args!(
        "{} parameters written to {}",
        pretrained.config.num_parameters(),
        args.out.display()
    ));
    Ok(())
}

/// Nothing that exists is overwritten.
fn require_new(args: &Args, output: OutputFormat) -> Result<()> {
    let out = args.out.display();
    let is_taken = match output {
        OutputFormat::Gguf => args.out.exists(),
        OutputFormat::Safetensors => match fs::read_dir(&args.out) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => args.out.exists(),
        },
    };
    match is_taken {
        true => bail!("--out {out}: exists already; name a new place, or remove it first"),
        false => Ok(()),
    }
}
