//! Text to token files: `cargo run --release --example prepare_data -- --help`.

#[path = "command_line/cargo.rs"]
mod cargo;
mod command_line;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser};
use tinyllama_train::{
    PrepareOptions, ProgressBar, SplitSize, TokenizerSource, ValidationSource, prepare_data,
};

use cargo::{command, path_flag};
use command_line::{exit_code, say};

/// Turn text into a folder of tokens that `pretrain --data` reads.
///
/// Inputs are files and folders: .txt, .md and .rs as plain text, .jsonl and .jsonl.zst (SlimPajama)
/// with a document per line, .parquet (StarCoder) with a document per row. Rows that cannot be used
/// are counted, the first few are shown, and the rest goes on.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  A folder of notes, with a tokenizer of its own:
    prepare_data --input notes/ --train-tokenizer 2048 --out data/notes
  SlimPajama and StarCoder with TinyLlama's tokenizer and a validation split of their own:
    prepare_data --input SlimPajama/train StarCoder/python --validation SlimPajama/validation \\
        --tokenizer TinyLlama-1.1B-Chat-v1.0/tokenizer.json --out data/tinyllama
  Then:
    pretrain --data data/notes")]
struct Flags {
    /// Files and folders to read, in this order
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    input: Vec<PathBuf>,

    /// Folder to make; it must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    tokenizer: TokenizerFlags,

    /// Share of the documents to hold out, evenly spaced
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    validation_fraction: f64,

    /// Hold out these files and folders instead of a share of the input
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "validation_fraction")]
    validation: Vec<PathBuf>,

    /// Key or column of the text [default: `text`, else `content`]
    #[arg(long, value_name = "KEY")]
    text_key: Option<String>,

    /// Stop after N documents
    #[arg(long, value_name = "N")]
    limit_documents: Option<u64>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TokenizerFlags {
    /// Use this tokenizer.json, or the one in this folder
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,

    /// Train a byte-level BPE tokenizer of N tokens on the input
    #[arg(long, value_name = "N")]
    train_tokenizer: Option<usize>,
}

impl Flags {
    fn into_options(self) -> PrepareOptions {
        PrepareOptions {
            validation: match self.validation.is_empty() {
                true => ValidationSource::Fraction(self.validation_fraction),
                false => ValidationSource::Paths(self.validation),
            },
            tokenizer: match self.tokenizer {
                TokenizerFlags { tokenizer: Some(path), .. } => TokenizerSource::Path(path),
                TokenizerFlags { train_tokenizer, .. } => TokenizerSource::Train {
                    vocab_size: train_tokenizer.expect("clap requires one of the two flags"),
                },
            },
            inputs: self.input,
            text_key: self.text_key,
            limit_documents: self.limit_documents,
            out: self.out,
        }
    }
}

fn main() -> ExitCode {
    exit_code(run(&Flags::parse().into_options()))
}

fn run(options: &PrepareOptions) -> anyhow::Result<()> {
    let start = Instant::now();
    let prepared = prepare_data(options, &ProgressBar::new(0))?;
    let bad_rows = &prepared.bad_rows;
    if bad_rows.count > 0 {
        eprintln!("{} rows could not be used; the first of them:", bad_rows.count);
        bad_rows.first.iter().for_each(|row| eprintln!("  {row}"));
    }
    let description = &prepared.description;
    say(format_args!("vocabulary  {} tokens", description.vocab_size));
    print_split("train", description.train);
    print_split("validation", description.validation);
    say(format_args!("{} in {:.1} s", options.out.display(), start.elapsed().as_secs_f64()));
    say(format_args!("next        {}", command("pretrain", &[path_flag("--data", &options.out)])));
    Ok(())
}

fn print_split(name: &str, size: SplitSize) {
    let SplitSize { num_documents, num_tokens, text_bytes } = size;
    let megabytes = text_bytes as f64 / 1e6;
    let bytes_per_token = text_bytes as f64 / num_tokens as f64;
    say(format_args!(
        "{name:11} {num_documents} documents, {megabytes:.1} MB, {num_tokens} tokens \
         ({bytes_per_token:.2} bytes each)"
    ));
}
