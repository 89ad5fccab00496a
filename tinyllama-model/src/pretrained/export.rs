//! Writing a model for other programs: a folder that transformers opens, a file that llama.cpp runs.

use std::path::Path;

use kernels_cubecl::Format;

use super::{Pretrained, PretrainedError};
use crate::config::ModelConfig;
use crate::disk::NewFolder;
use crate::gguf::{self, Description, NewTensor};
use crate::weights::{self, StoredTensor, WeightsError};

/// A folder without it is no model.
const CONFIG_FILE: &str = "config.json";

/// The formats of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportFormat {
    /// A plain float for every tensor; `None` keeps what is stored.
    pub dtype: Option<Format>,
    /// Blocks for the matrices, in GGUF alone. Rows that are no whole blocks keep their float, and
    /// under [`Format::Q4_0`] the embedding and the head get [`Format::Q8_0`], since every token passes
    /// through them.
    pub quantize: Option<Format>,
}

impl Pretrained {
    /// Writes a folder in Hugging Face layout, which appears whole or not at all: config.json,
    /// generation_config.json, model.safetensors, and tokenizer files with the chat template where there is
    /// a tokenizer. Tensors keep their bits where `dtype` is `None` and they are plain floats; blocks become
    /// f32.
    ///
    /// # Errors
    /// The folder exists and is not empty, a file cannot be written, the tensors do not fit the
    /// configuration, or elements do not fit `dtype`.
    pub fn save_folder(&self, folder: &Path, dtype: Option<Format>) -> Result<(), PretrainedError> {
        let format = |tensor: &StoredTensor| dtype.unwrap_or_else(|| plain(tensor.format));
        let embedding = self.tensors.by_name.get("model.embed_tokens.weight");
        let config = ModelConfig {
            torch_dtype: torch_dtype(embedding.map_or(Format::F32, format)).to_owned(),
            ..self.config.clone()
        };
        self.tensors.check(&config)?;
        self.tensors.check_conversion(|_, tensor| format(tensor))?;
        let io = |source| WeightsError::Io { path: folder.to_owned(), source };
        let new = NewFolder::create(folder).map_err(io)?;
        config.save(&new.path().join(CONFIG_FILE))?;
        self.generation_config.save(new.path())?;
        if let Some(tokenizer) = &self.tokenizer {
            let template = self.chat_template.as_ref().map(|template| template.source());
            tokenizer.save(new.path(), template)?;
        }
        self.tensors.save(new.path(), format)?;
        Ok(new.commit(CONFIG_FILE).map_err(io)?)
    }

    /// Writes a GGUF file. Norms are f32, as llama.cpp wants them; matrices keep their bits where
    /// `format` is empty.
    ///
    /// # Errors
    /// GGUF cannot express the model or its tokenizer, elements do not fit `format`, or the file cannot be
    /// written.
    pub fn save_gguf(&self, path: &Path, format: ExportFormat) -> Result<(), PretrainedError> {
        let vocabulary = match &self.tokenizer {
            Some(tokenizer) => Some(tokenizer.to_vocabulary()?),
            None => None,
        };
        let choose = |name: &str, tensor: &StoredTensor| format.of(name, tensor);
        self.tensors.check_conversion(choose)?;
        let exported = weights::gguf::export(&self.tensors, &self.config, choose)?;
        // The first matrix behind the embedding stands for most of them.
        let file_type = exported.iter().find(|tensor| tensor.name == "blk.0.ffn_up.weight");
        let description = Description {
            config: &self.config,
            vocabulary: vocabulary.as_ref(),
            chat_template: self.chat_template.as_ref().map(|template| template.source()),
            name: path.file_stem().and_then(|stem| stem.to_str()),
            file_type: file_type.map_or(Format::F32, |tensor| tensor.format),
        };
        let tensors = exported.iter().map(|tensor| NewTensor {
            name: tensor.name.clone(),
            shape: tensor.shape().to_vec(),
            format: tensor.format,
            bytes: Box::new(|| tensor.bytes()),
        });
        let divisors = gguf::new_divisors(&self.config).map(|divisors| NewTensor {
            name: gguf::ROPE_FREQS.to_owned(),
            shape: vec![divisors.len()],
            format: Format::F32,
            bytes: Box::new(move || Format::F32.quantize(&divisors).into()),
        });
        Ok(gguf::write(path, &description, divisors.into_iter().chain(tensors).collect())?)
    }

    /// A tensor of a floating-point format that GGUF's blocks cannot hold, and the width of its rows:
    /// what [`Pretrained::save_gguf`] leaves in plain floats.
    pub fn unquantizable(&self, quantize: Format) -> Option<(&str, usize)> {
        let misfit = |(_, tensor): &(&String, &StoredTensor)| {
            tensor.shape.len() == 2 && quantize.row_bytes(tensor.columns()).is_none()
        };
        let (name, tensor) = self.tensors.by_name.iter().find(misfit)?;
        Some((name, tensor.columns()))
    }
}

impl ExportFormat {
    fn of(self, name: &str, tensor: &StoredTensor) -> Format {
        if tensor.shape.len() < 2 {
            return Format::F32;
        }
        let float = self.dtype.unwrap_or(tensor.format);
        let Some(mut blocks) = self.quantize else { return float };
        let is_outer = matches!(name, "model.embed_tokens.weight" | "lm_head.weight");
        if is_outer && blocks == Format::Q4_0 {
            blocks = Format::Q8_0;
        }
        match blocks.row_bytes(tensor.columns()) {
            Some(_) => blocks,
            None => float,
        }
    }
}

/// The plain float that holds all values of a format.
fn plain(format: Format) -> Format {
    match format {
        Format::F16 | Format::Bf16 => format,
        _ => Format::F32,
    }
}

fn torch_dtype(format: Format) -> &'static str {
    match format {
        Format::F16 => "float16",
        Format::Bf16 => "bfloat16",
        _ => "float32",
    }
}
