//! What can be wrong on the way from text to token files and back. What goes wrong in a run is
//! [`TrainError`](crate::TrainError).

use std::path::PathBuf;

use tinyllama_model::TokenizerError;

/// A corpus, a data set or its tokenizer that cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file or folder asked for.
        path: PathBuf,
        /// Why reading failed.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {source}", .path.display())]
    Write {
        /// The file or folder to be written.
        path: PathBuf,
        /// Why writing failed.
        source: std::io::Error,
    },
    /// A Cargo.lock that is not one.
    #[error("{}: not a Cargo.lock: {message}", .path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        message: String,
    },
    /// Cargo has unpacked no package of the lock file on this machine.
    #[error(
        "{}: no package of {} is unpacked there; run `cargo fetch` in this repository once, \
         or train on other text with --data DIR (made by `prepare_data`)",
        .registry.display(), .lock.display()
    )]
    RegistryEmpty {
        /// The folder searched, `registry/src` under Cargo's home.
        registry: PathBuf,
        /// The lock file whose packages were looked for.
        lock: PathBuf,
    },
    /// Neither `CARGO_HOME` nor a home folder is known.
    #[error(
        "Cargo's home folder is unknown: neither CARGO_HOME nor HOME is set; set CARGO_HOME, or \
         train on other text with --data DIR (made by `prepare_data`)"
    )]
    CargoHome,
    /// An input file whose name ends in nothing known.
    #[error(
        "{}: the format is not known; supported are .txt, .md, .rs, .jsonl, .jsonl.zst and \
         .parquet", .path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The inputs hold no file of a known format.
    #[error(
        "{}: no .txt, .md, .rs, .jsonl, .jsonl.zst or .parquet file in it", .path.display()
    )]
    NoInput {
        /// The folder searched.
        path: PathBuf,
    },
    /// A file that cannot be decoded from some place on.
    #[error("{}: cannot be decoded as {format}: {message}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The format its name promises.
        format: &'static str,
        /// The decoder's words.
        message: String,
    },
    /// A parquet file without a text column.
    #[error(
        "{}: no string column named {}; its columns are {}; name one with --text-key",
        .path.display(), .wanted.join(" or "), .found.join(", ")
    )]
    Column {
        /// The file.
        path: PathBuf,
        /// The names tried.
        wanted: Vec<String>,
        /// The columns there are.
        found: Vec<String>,
    },
    /// Not one document could be read.
    #[error("every one of the {num_rows} rows is bad; the first: {first}")]
    EveryRowBad {
        /// Rows read.
        num_rows: u64,
        /// File, line and cause of the first.
        first: String,
    },
    /// A split came out without a window to train or evaluate on.
    #[error(
        "the {split} split has {num_tokens} tokens, but one sequence needs {needed_tokens}: {remedy}"
    )]
    SplitTooSmall {
        /// `train` or `validation`.
        split: &'static str,
        /// Tokens there are.
        num_tokens: u64,
        /// Tokens of the shortest usable split.
        needed_tokens: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// A share that is none.
    #[error("the validation fraction is {value}, but must lie between 0 and 1, ends excluded")]
    ValidationFraction {
        /// The value given.
        value: f64,
    },
    /// A vocabulary that byte-level BPE cannot have.
    #[error(
        "the vocabulary size is {vocab_size}, but must lie between {min} (256 bytes and the special \
         tokens) and {max}"
    )]
    VocabSize {
        /// The value given.
        vocab_size: usize,
        /// Smallest possible.
        min: usize,
        /// Largest allowed.
        max: usize,
    },
    /// No tokenizer could be trained.
    #[error("training a tokenizer: {message}")]
    TokenizerTraining {
        /// The trainer's words.
        message: String,
    },
    /// The tokenizer cannot be read, applied or written.
    #[error(transparent)]
    Tokenizer {
        /// What failed, with the file.
        source: TokenizerError,
    },
    /// Nothing would separate one document from the next.
    #[error(
        "the tokenizer has neither an end-of-sequence nor a begin-of-sequence token, so documents \
         would run into each other; add one (`</s>`) to the special tokens of tokenizer.json"
    )]
    NoSeparator,
    /// The output folder is in use.
    #[error(
        "{}: already exists and is not empty; delete it or choose another output folder",
        .path.display()
    )]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// Another process makes a data set in the output folder.
    #[error("{}: another process is making a data set there; wait for it or stop it", .path.display())]
    OutputBusy {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without the description that completes a data set.
    #[error(
        "{}: no dataset.json in it, so it is no complete data set; make one with `prepare_data` and \
         name its folder", .path.display()
    )]
    NoDescription {
        /// The folder.
        path: PathBuf,
    },
    /// A split whose token files are not all that was made.
    #[error(
        "{}: the {split} files have {found} tokens, but dataset.json says {expected}; a file is missing \
         or of another data set: copy the folder again or make it again with `prepare_data`",
        .path.display()
    )]
    SplitSize {
        /// The folder.
        path: PathBuf,
        /// `train` or `validation`.
        split: &'static str,
        /// Tokens of the files.
        found: u64,
        /// Tokens of the description.
        expected: u64,
    },
    /// A folder without shards of a split.
    #[error(
        "{}: no token file {split}_00000.bin in it; make a data set with `prepare_data` and name its \
         folder", .path.display()
    )]
    NoShards {
        /// The folder.
        path: PathBuf,
        /// `train` or `validation`.
        split: &'static str,
    },
    /// A token file whose header or length is wrong.
    #[error("{}: {field} is {found}, expected {expected}; {remedy}", .path.display())]
    Shard {
        /// The token file.
        path: PathBuf,
        /// The header field, or what else was measured.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value it had to have.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A token that the vocabulary does not have.
    #[error(
        "{}: token {index} is {token}, but the vocabulary has {vocab_size} tokens; the file is \
         damaged: make the data set again with `prepare_data`", .path.display()
    )]
    TokenOutOfRange {
        /// The token file.
        path: PathBuf,
        /// Position of the token inside of the file.
        index: u64,
        /// Its value.
        token: u32,
        /// The vocabulary of the file's header.
        vocab_size: u32,
    },
    /// A dataset.json that is not ours.
    #[error("{}: not a data set description: {message}", .path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        message: String,
    },
}

impl DataError {
    /// For `map_err`: wraps a failed read of `path`.
    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    /// For `map_err`: wraps a failed write of `path`.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
