//! GGUF files, in and out: one file with a model's sizes, vocabulary and packed weights
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//!
//! [`Gguf::open`] maps a file of version 2 or 3 and checks everything in front of the weights once;
//! nothing is copied or allocated because the file says so, so that a damaged or hostile file is an
//! error and nothing else. [`write()`] streams a file that llama.cpp reads.
//!
//! Tensors keep GGUF's names and llama.cpp's order of the rows of q and k.

mod config;
mod cursor;
mod error;
mod keys;
mod metadata;
mod rope_scaling;
mod special_ids;
mod tensor_info;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;
mod writer;

use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::cursor::Cursor;
pub use self::error::GgufError;
use self::error::shown;
pub(crate) use self::keys::ROPE_FREQS;
pub use self::metadata::Metadata;
pub(crate) use self::rope_scaling::new_divisors;
use self::special_ids::SpecialIds;
pub use self::tensor_info::TensorInfo;
pub use self::value::Strings;
pub use self::writer::{Description, NewTensor, write};
use crate::config::ModelConfig;
use crate::mapped::map_file;
use crate::tokenizer::Vocabulary;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;
/// Where the file does not say.
const DEFAULT_ALIGNMENT: usize = 32;
/// A page of any machine; larger ones serve nothing.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// The layout of quantised blocks that all GGUF files have had.
const QUANTIZATION_VERSION: u32 = 2;

/// An open GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf {
    path: PathBuf,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, sorted by name.
    by_name: Vec<usize>,
}

impl Gguf {
    /// Maps a file and reads its metadata and the list of its tensors.
    ///
    /// # Errors
    /// The file cannot be read, is no GGUF file of version 2 or 3 in little-endian order, is damaged,
    /// one of several parts, or holds a tensor in a format that is not read.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let bytes = map_file(path).map_err(|source| GgufError::Read { source }.in_file(path))?;
        Self::from_bytes(path, bytes)
    }

    /// As [`Gguf::open`], of bytes in memory; `path` is their name in messages.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(path: &Path, bytes: Bytes) -> Result<Self, GgufError> {
        parse(path, &bytes).map_err(|error| error.in_file(path))
    }

    /// The file's name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file's list.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let position = |&index: &usize| self.tensors[index].name.as_str().cmp(name);
        let found = self.by_name.binary_search_by(position).ok()?;
        Some(&self.tensors[self.by_name[found]])
    }

    /// The sizes and constants of the model. Floats are those of [`Metadata::float`].
    ///
    /// # Errors
    /// The file holds no model of architecture `llama`, or one that is not computed here: with
    /// experts, layers of different sizes, or frequencies that are scaled in another way than
    /// [`RopeScaling`] knows; or keys are missing, of the wrong type or do not fit each other.
    ///
    /// [`RopeScaling`]: crate::RopeScaling
    pub fn config(&self) -> Result<ModelConfig, GgufError> {
        config::read(self).map_err(|error| error.in_file(&self.path))
    }

    /// Whether the file says how text becomes ids.
    pub fn has_vocabulary(&self) -> bool {
        self.metadata.keys().any(|key| key == keys::TOKENIZER_MODEL)
    }

    /// What turns text into ids. Where a key is absent, llama.cpp's defaults hold.
    ///
    /// # Errors
    /// The tokenizer is neither `llama` nor `gpt2`, or keys are missing, of the wrong type or do not
    /// fit each other.
    pub fn vocabulary(&self) -> Result<Vocabulary, GgufError> {
        vocabulary::read(&self.metadata).map_err(|error| error.in_file(&self.path))
    }

    /// The Jinja template of conversations.
    pub fn chat_template(&self) -> Option<&str> {
        self.metadata.string(keys::CHAT_TEMPLATE).expect("checked when the file was opened")
    }

    /// Every token that ends a sequence or a turn, each once.
    ///
    /// # Errors
    /// An id has another type or lies outside of the vocabulary.
    pub fn eos_token_ids(&self) -> Result<Vec<u32>, GgufError> {
        let ids = SpecialIds::read(&self.metadata).map_err(|error| error.in_file(&self.path))?;
        Ok(ids.ends())
    }

    /// What the rotary frequencies are divided by, `[H / 2]`, where the file lists it
    /// (`rope_freqs.weight`): how converters store the scaling of Llama 3.
    ///
    /// # Errors
    /// The tensor is no vector of f32, or a divisor is not finite and above 0.
    pub fn rope_frequency_divisors(&self) -> Result<Option<Vec<f32>>, GgufError> {
        rope_scaling::divisors(self).map_err(|error| error.in_file(&self.path))
    }
}

fn parse(path: &Path, bytes: &Bytes) -> Result<Gguf, GgufError> {
    let mut cursor = Cursor::new(bytes, 0);
    check_magic(bytes)?;
    let in_header = |flaw: error::Flaw| flaw.at("header");
    cursor.take(MAGIC.len() as u64).map_err(in_header)?;
    check_version(cursor.u32().map_err(in_header)?)?;
    let tensor_count = cursor.u64().map_err(in_header)?;
    let key_count = cursor.u64().map_err(in_header)?;
    tensor_info::check_count(&cursor, tensor_count)?;
    let metadata = Metadata::parse(path, bytes, &mut cursor, key_count)?;
    check_metadata(&metadata)?;
    let tensors = tensor_info::parse(bytes, &mut cursor, tensor_count, alignment(&metadata)?)?;
    check_quantization_version(&metadata, &tensors)?;

    let name = |&index: &usize| tensors[index].name.as_str();
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    if let Some(twice) = by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
        let place = format!("tensor `{}`", shown(name(&twice[0])));
        return Err(GgufError::Damaged { place, detail: "is there twice".to_owned() });
    }
    Ok(Gguf { path: path.to_owned(), metadata, tensors, by_name })
}

fn check_magic(bytes: &[u8]) -> Result<(), GgufError> {
    // A file that ends within these bytes is an incomplete one, which the header's reader says.
    let first = &bytes[..bytes.len().min(MAGIC.len())];
    match first == &MAGIC[..first.len()] {
        true => Ok(()),
        false => Err(GgufError::NotGguf { found: first.escape_ascii().to_string() }),
    }
}

fn check_version(version: u32) -> Result<(), GgufError> {
    let (found, remedy) = match version {
        2 | VERSION => return Ok(()),
        1 => ("GGUF version 1".to_owned(), "convert the model again with a current llama.cpp"),
        // As llama.cpp tells: no version is that large.
        _ if version & 0xffff == 0 && version != 0 => (
            format!("GGUF version {} in big-endian byte order", version.swap_bytes()),
            "convert it with llama.cpp's gguf_convert_endian.py",
        ),
        _ => (format!("GGUF version {version}"), "versions 2 and 3 are"),
    };
    Err(GgufError::Version { found, remedy })
}

/// Checks what makes a file unusable whatever it is wanted for.
fn check_metadata(metadata: &Metadata) -> Result<(), GgufError> {
    metadata.string(keys::CHAT_TEMPLATE)?;
    let parts = metadata.unsigned(keys::SPLIT_COUNT, u64::MAX)?.unwrap_or(1);
    if parts > 1 {
        let part = metadata.unsigned(keys::SPLIT_NO, u64::MAX)?.unwrap_or(0).saturating_add(1);
        let remedy = format!(
            "this is part {part}; join the parts with llama.cpp's llama-gguf-split --merge"
        );
        return Err(GgufError::unsupported(keys::SPLIT_COUNT, parts, remedy));
    }
    Ok(())
}

/// What the data's places are multiples of.
fn alignment(metadata: &Metadata) -> Result<usize, GgufError> {
    let Some(alignment) = metadata.integer(keys::ALIGNMENT)? else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    if !metadata.is_uint32(keys::ALIGNMENT) {
        return Err(GgufError::Type {
            key: keys::ALIGNMENT.to_owned(),
            found: format!("the integer {alignment} of another type"),
            expected: "of type uint32",
        });
    }
    match u64::try_from(alignment) {
        Ok(power) if power.is_power_of_two() && power <= MAX_ALIGNMENT => Ok(power as usize),
        _ => {
            let requirement = format!("a power of two, at most {MAX_ALIGNMENT}");
            Err(GgufError::invalid(keys::ALIGNMENT, alignment, requirement))
        }
    }
}

fn check_quantization_version(
    metadata: &Metadata,
    tensors: &[TensorInfo],
) -> Result<(), GgufError> {
    let expected = u64::from(QUANTIZATION_VERSION);
    let version = metadata.unsigned(keys::QUANTIZATION_VERSION, u64::MAX)?.unwrap_or(expected);
    let is_quantized = tensors.iter().any(|tensor| tensor.format.block_elements() > 1);
    match version == expected || !is_quantized {
        true => Ok(()),
        false => {
            let remedy = format!("blocks of version {expected} are read");
            Err(GgufError::unsupported(keys::QUANTIZATION_VERSION, version, remedy))
        }
    }
}
