//! Token files: what a corpus is after tokenization, read through memory maps.
//!
//! A data set folder holds `train_00000.bin`, `train_00001.bin`, .., `validation_00000.bin`, .. and
//! beside them `tokenizer.json` and `dataset.json`. A token file is a header of 128 bytes and
//! the tokens, all little-endian:
//!
//! ```text
//!   0  8  magic "TLTOKENS"         32  8  bytes of text that became these tokens
//!   8  4  version, 1               40  4  vocabulary size
//!  12  4  bytes per token, 2 or 4  44  4  id that begins every document, or 0xFFFFFFFF
//!  16  8  number of tokens         48  4  id that ends every document, or 0xFFFFFFFF
//!  24  8  number of documents      52 12  zero
//!                                  64 64  fingerprint of the tokenizer, ASCII, zero-padded
//! ```
//!
//! Tokens have 2 bytes where the vocabulary fits, else 4. Files are written under a temporary name
//! and renamed when complete. The files of a split continue each other: a reader sees one sequence.

mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use tinyllama_model::MAX_SIZE;

pub(crate) use self::writer::ShardWriter;
use crate::data_error::DataError;

const MAGIC: [u8; 8] = *b"TLTOKENS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 128;
const NO_ID: u32 = u32::MAX;
const FINGERPRINT_BYTES: usize = 64;
const REMAKE: &str = "make the data set again with `prepare_data`";

/// Tokens after which a writer starts the next file: half a gigabyte of `u16`.
pub(crate) const MAX_SHARD_TOKENS: u64 = 1 << 28;

/// The two parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What the model is trained on.
    Train,
    /// What it is evaluated on, and never trained on.
    Validation,
}

impl Split {
    /// The name in file names and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the tokens of a data set mean; equal in all of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFormat {
    /// Every token is below it.
    pub vocab_size: u32,
    /// The token that begins every document, where one does.
    pub bos_id: Option<u32>,
    /// The token that ends every document, where one does.
    pub eos_id: Option<u32>,
    /// Fingerprint of the tokenizer, at most 64 ASCII characters.
    pub fingerprint: String,
}

/// Sizes of a split, or of one of its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SplitSize {
    /// Documents.
    pub num_documents: u64,
    /// Tokens, those that begin and end documents included.
    pub num_tokens: u64,
    /// Bytes of UTF-8 text the tokens stand for.
    pub text_bytes: u64,
}

impl SplitSize {
    /// Saturates: a header can claim any number of documents and bytes.
    fn add(&mut self, other: Self) {
        self.num_documents = self.num_documents.saturating_add(other.num_documents);
        self.num_tokens = self.num_tokens.saturating_add(other.num_tokens);
        self.text_bytes = self.text_bytes.saturating_add(other.text_bytes);
    }

    /// Turns a loss in nats per token of this split into bits per byte of its text, a measure that
    /// does not depend on the tokenizer.
    pub fn bits_per_byte(&self, nats_per_token: f64) -> f64 {
        nats_per_token * self.num_tokens as f64 / self.text_bytes as f64 / std::f64::consts::LN_2
    }
}

/// The tokens of one split, read through memory maps.
///
/// Opening costs a header per file whatever the size; tokens are checked against the vocabulary as
/// they are read. The files must not be changed while they are open.
#[derive(Debug)]
pub struct TokenShards {
    shards: Vec<Shard>,
    split: Split,
    format: TokenFormat,
    size: SplitSize,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Position of the file's first token in the split.
    start: u64,
    num_tokens: u64,
}

impl TokenShards {
    /// Opens the files of `split` in a data set folder.
    ///
    /// # Errors
    /// There is none, a header or a length is wrong, or the files disagree about their format. A file
    /// that is missing at the end shows in [`size`](Self::size) alone.
    pub fn open(folder: &Path, split: Split) -> Result<Self, DataError> {
        let mut shards: Vec<Shard> = Vec::new();
        let mut size = SplitSize::default();
        let mut format: Option<TokenFormat> = None;
        loop {
            let path = folder.join(shard_name(split, shards.len()));
            if !path.exists() {
                break;
            }
            let (map, shard_format, shard_size) = map_shard(&path)?;
            if let Some(format) = format.as_ref().filter(|format| **format != shard_format) {
                return Err(DataError::Shard {
                    path,
                    field: "the token format",
                    found: format!("{shard_format:?}"),
                    expected: format!("{format:?}, as in the split's first file"),
                    remedy: "the folder mixes two data sets: keep one",
                });
            }
            format = Some(shard_format);
            shards.push(Shard {
                path,
                map,
                start: size.num_tokens,
                num_tokens: shard_size.num_tokens,
            });
            size.add(shard_size);
        }
        let none = || DataError::NoShards { path: folder.to_owned(), split: split.name() };
        Ok(Self { format: format.ok_or_else(none)?, shards, split, size })
    }

    /// The split that was opened.
    pub fn split(&self) -> Split {
        self.split
    }

    /// What the tokens mean.
    pub fn format(&self) -> &TokenFormat {
        &self.format
    }

    /// Documents, tokens and bytes of the split.
    pub fn size(&self) -> SplitSize {
        self.size
    }

    /// Appends the tokens `start..start + len` of the split to `out`, across file borders.
    ///
    /// # Errors
    /// A token is not in the vocabulary.
    ///
    /// # Panics
    /// When the range passes the end.
    pub fn read(&self, start: u64, len: usize, out: &mut Vec<u32>) -> Result<(), DataError> {
        let end = start + len as u64;
        assert!(end <= self.size.num_tokens, "tokens ..{end} of {}", self.size.num_tokens);
        let mut shard = self.shards.partition_point(|shard| shard.start <= start).saturating_sub(1);
        let mut position = start;
        while position < end {
            let file = &self.shards[shard];
            let from = position - file.start;
            let until = file.num_tokens.min(end - file.start);
            self.read_shard(file, from, until, out)?;
            position = file.start + until;
            shard += 1;
        }
        Ok(())
    }

    fn read_shard(
        &self,
        shard: &Shard,
        from: u64,
        until: u64,
        out: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let vocab_size = self.format.vocab_size;
        let width = bytes_per_token(vocab_size);
        // Both fit: the map of this very file is in memory and its length was checked.
        let bytes = &shard.map[HEADER_BYTES..][from as usize * width..until as usize * width];
        let first = out.len();
        match width {
            2 => out
                .extend(bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])))),
            _ => out.extend(
                bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
        }
        match out[first..].iter().position(|&token| token >= vocab_size) {
            None => Ok(()),
            Some(offset) => Err(DataError::TokenOutOfRange {
                path: shard.path.clone(),
                index: from + offset as u64,
                token: out[first + offset],
                vocab_size,
            }),
        }
    }
}

fn shard_name(split: Split, index: usize) -> String {
    format!("{split}_{index:05}.bin")
}

fn bytes_per_token(vocab_size: u32) -> usize {
    if vocab_size <= 1 << 16 { 2 } else { 4 }
}

fn encode_header(format: &TokenFormat, size: SplitSize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(8, &VERSION.to_le_bytes());
    put(12, &(bytes_per_token(format.vocab_size) as u32).to_le_bytes());
    put(16, &size.num_tokens.to_le_bytes());
    put(24, &size.num_documents.to_le_bytes());
    put(32, &size.text_bytes.to_le_bytes());
    put(40, &format.vocab_size.to_le_bytes());
    put(44, &format.bos_id.unwrap_or(NO_ID).to_le_bytes());
    put(48, &format.eos_id.unwrap_or(NO_ID).to_le_bytes());
    put(64, format.fingerprint.as_bytes());
    header
}

/// Maps a token file after checking every field of its header and its length.
fn map_shard(path: &Path) -> Result<(Mmap, TokenFormat, SplitSize), DataError> {
    let file = File::open(path).map_err(DataError::read(path))?;
    // SAFETY: the map is read-only and bounds-checked; `TokenShards` documents that the file must not
    // change while it is open, and files are only ever replaced by rename.
    let map = unsafe { Mmap::map(&file) }.map_err(DataError::read(path))?;
    let wrong = |field, found: String, expected: String, remedy| DataError::Shard {
        path: path.to_owned(),
        field,
        found,
        expected,
        remedy,
    };
    let Some(header) = map.get(..HEADER_BYTES) else {
        let found = format!("{} bytes", map.len());
        return Err(wrong(
            "the file size",
            found,
            format!("at least {HEADER_BYTES} bytes"),
            REMAKE,
        ));
    };
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if header[..8] != MAGIC {
        let found = format!("{:?}", String::from_utf8_lossy(&header[..8]));
        return Err(wrong("magic", found, "\"TLTOKENS\"".into(), "this is no token file of ours"));
    }
    if u32_at(8) != VERSION {
        return Err(wrong("version", u32_at(8).to_string(), VERSION.to_string(), REMAKE));
    }
    let id_at = |at: usize| Some(u32_at(at)).filter(|&id| id != NO_ID);
    let fingerprint = header[64..].split(|&byte| byte == 0).next().unwrap_or_default();
    let format = TokenFormat {
        vocab_size: u32_at(40),
        bos_id: id_at(44),
        eos_id: id_at(48),
        fingerprint: String::from_utf8_lossy(fingerprint).into_owned(),
    };
    // No model has more rows, and tables are sized by it.
    if !(1..=MAX_SIZE).contains(&(format.vocab_size as usize)) {
        let expected = format!("between 1 and {MAX_SIZE}");
        return Err(wrong("vocabulary size", format.vocab_size.to_string(), expected, REMAKE));
    }
    let width = bytes_per_token(format.vocab_size);
    if u32_at(12) as usize != width {
        let expected = format!("{width} for a vocabulary of {}", format.vocab_size);
        return Err(wrong("bytes per token", u32_at(12).to_string(), expected, REMAKE));
    }
    for (field, id) in [
        ("the id that begins documents", format.bos_id),
        ("the id that ends documents", format.eos_id),
    ] {
        if let Some(id) = id.filter(|&id| id >= format.vocab_size) {
            let expected = format!("below the vocabulary size {}", format.vocab_size);
            return Err(wrong(field, id.to_string(), expected, REMAKE));
        }
    }
    let size =
        SplitSize { num_tokens: u64_at(16), num_documents: u64_at(24), text_bytes: u64_at(32) };
    // In u128, where no number of tokens overflows.
    let expected = HEADER_BYTES as u128 + u128::from(size.num_tokens) * width as u128;
    if map.len() as u128 != expected {
        let expected = format!("{expected} bytes for the header's {} tokens", size.num_tokens);
        let remedy =
            "the file was cut off or damaged: copy it again or make it again with `prepare_data`";
        return Err(wrong("the file size", format!("{} bytes", map.len()), expected, remedy));
    }
    Ok((map, format, size))
}

#[cfg(test)]
mod tests;
