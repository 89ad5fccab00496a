//! A model as it lies on disk, with all that belongs to it.

mod export;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::chat::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::{ChatError, ConfigError, TokenizerError};
use crate::generation_config::GenerationConfig;
use crate::gguf::{Gguf, GgufError};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Tensors, WeightsError, llama2c};

pub use self::export::ExportFormat;

/// Why a model on disk cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainedError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Its chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The GGUF file that holds all of it.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// A model on disk: sizes, words and weights, in the same form whatever files they come from.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// The sizes.
    pub config: ModelConfig,
    /// The ids that begin and end generation.
    pub generation_config: GenerationConfig,
    /// Text to ids and back; `None` where no file of it is there.
    pub tokenizer: Option<Tokenizer>,
    /// How a conversation is written; a pretrained model has none.
    pub chat_template: Option<ChatTemplate>,
    /// The weights, mapped where the format allows it.
    pub tensors: Tensors,
}

impl Pretrained {
    /// Opens a folder in Hugging Face layout, a GGUF file, or a checkpoint of llama2.c.
    ///
    /// # Errors
    /// The path holds nothing of these, or a file of it is missing, damaged or of another
    /// architecture.
    pub fn open(path: &Path) -> Result<Self, PretrainedError> {
        if path.is_dir() {
            Self::from_folder(path)
        } else if has_extension(path, "gguf") || begins_as_gguf(path) {
            Self::from_gguf(path)
        } else {
            Self::from_llama2c(path)
        }
    }

    fn from_folder(folder: &Path) -> Result<Self, PretrainedError> {
        // The small files first: their mistakes should not wait for gigabytes.
        let config = ModelConfig::from_file(&folder.join("config.json"))?;
        let generation_config = GenerationConfig::from_folder(folder)?;
        let tokenizer = tokenizer(folder)?;
        let chat_template = ChatTemplate::from_folder(folder)?;
        let tensors = Tensors::from_folder(folder)?;
        Ok(Self { config, generation_config, tokenizer, chat_template, tensors })
    }

    fn from_gguf(path: &Path) -> Result<Self, PretrainedError> {
        let gguf = Gguf::open(path)?;
        let config = gguf.config()?;
        let in_file =
            |source| TokenizerError::InFile { path: path.to_owned(), source: Box::new(source) };
        let tokenizer = match gguf.has_vocabulary() {
            true => Some(Tokenizer::from_vocabulary(&gguf.vocabulary()?).map_err(in_file)?),
            false => None,
        };
        let template = |source| ChatTemplate::from_source_of(path, source);
        let chat_template = gguf.chat_template().map(template).transpose()?;
        let generation_config = GenerationConfig {
            bos_token_id: config.bos_token_id,
            eos_token_id: gguf.eos_token_ids()?,
            ..GenerationConfig::default()
        };
        let tensors = weights::gguf::read(&gguf, &config)?;
        Ok(Self { config, generation_config, tokenizer, chat_template, tensors })
    }

    /// The tokenizer is in the folder of the checkpoint, by any of its usual names.
    fn from_llama2c(path: &Path) -> Result<Self, PretrainedError> {
        let (config, tensors) = llama2c::open(path)?;
        let tokenizer = tokenizer(path.parent().unwrap_or(Path::new(".")))?;
        let generation_config = GenerationConfig::from(&config);
        Ok(Self { config, generation_config, tokenizer, chat_template: None, tensors })
    }
}

/// The tokenizer of a folder, `None` where it has none.
fn tokenizer(folder: &Path) -> Result<Option<Tokenizer>, TokenizerError> {
    match Tokenizer::from_folder(folder) {
        Ok(tokenizer) => Ok(Some(tokenizer)),
        Err(TokenizerError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Whether a file begins with GGUF's magic number, whatever it is called.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}
