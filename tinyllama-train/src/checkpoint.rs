//! One checkpoint: a folder that is a model, and all that its run needs to go on.
//!
//! ```text
//! config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json
//! trainer.safetensors      AdamW's moments, one flat buffer per parameter group
//! trainer.json             step, tokens, position in the data, settings
//! DONE                     sha256 of each file, as `sha256sum -c DONE` reads it
//! ```
//!
//! The first line of files is a model folder in Hugging Face layout.

mod seal;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tinyllama_model::{
    GenerationConfig, ModelConfig, ParameterGroup, TinyLlama, Tokenizer, weights,
};

use self::seal::{DONE_FILE, seal, verify};
use crate::config::TrainConfig;
use crate::optimizer::Moments;
use crate::source::BatchSource;
use crate::train_error::TrainError;
use crate::trainer::{Position, Trainer};

const STATE_FILE: &str = "trainer.json";
const MOMENTS_FILE: &str = "trainer.safetensors";
const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";

/// `trainer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Seconds the run has taken.
    pub wall_s: f64,
    /// State of the batch source.
    pub source: Value,
    /// Settings of the run.
    pub config: TrainConfig,
}

impl TrainerState {
    /// How far the run is.
    pub fn position(&self) -> Position {
        Position { step: self.step, tokens: self.tokens, source: self.source.clone() }
    }
}

/// What a checkpoint holds besides the trainer, so that it is a complete model folder.
#[derive(Clone, Copy, Debug)]
pub struct TokenizerFiles<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The Jinja text of the chat template, for models that chat.
    pub chat_template: Option<&'a str>,
}

/// A complete checkpoint whose files are what was written.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder, which is a model folder.
    pub folder: PathBuf,
    /// Step, data and settings.
    pub state: TrainerState,
}

impl Checkpoint {
    /// Compares every file with its checksum, and the two descriptions of the model with each other.
    pub(crate) fn open(folder: &Path) -> Result<Self, TrainError> {
        verify(folder, &["config.json", "model.safetensors", MOMENTS_FILE, STATE_FILE])?;
        let foreign =
            |file: &str, detail: String| TrainError::Foreign { path: folder.join(file), detail };
        let path = folder.join(STATE_FILE);
        let text = fs::read_to_string(&path).map_err(TrainError::read(&path))?;
        let state: TrainerState =
            serde_json::from_str(&text).map_err(|error| foreign(STATE_FILE, error.to_string()))?;
        let config = ModelConfig::from_file(&folder.join("config.json"))
            .map_err(|error| foreign("config.json", error.to_string()))?;
        match state.config.model_difference(&config) {
            None => Ok(Self { folder: folder.to_owned(), state }),
            Some(change) => {
                Err(foreign("config.json", format!("is not the model of {STATE_FILE}: {change}")))
            }
        }
    }

    /// The weights, bit for bit.
    pub(crate) fn model(&self, device: &Device) -> Result<TinyLlama, TrainError> {
        Ok(weights::load(&self.folder, device)?)
    }

    /// AdamW's moments, bit for bit, in the order of `groups`. `device` has no autodiff.
    pub(crate) fn moments(
        &self,
        groups: &[ParameterGroup],
        device: &Device,
    ) -> Result<Vec<Moments>, TrainError> {
        read_moments(&self.folder.join(MOMENTS_FILE), groups, device)
    }
}

/// Whether a folder has the marker of a complete checkpoint.
pub(crate) fn is_complete(folder: &Path) -> bool {
    folder.join(DONE_FILE).exists()
}

/// Writes all of a checkpoint into an empty folder, the marker last, everything forced to disk.
pub(crate) fn write<S: BatchSource>(
    folder: &Path,
    trainer: &Trainer<S>,
    files: TokenizerFiles<'_>,
    wall_s: f64,
) -> Result<(), TrainError> {
    let model = trainer.model();
    weights::save(&model, folder)?;
    files.tokenizer.save(folder, files.chat_template)?;
    GenerationConfig::from(model.config()).save(folder)?;
    let (groups, moments) = (trainer.parameters().groups(), trainer.optimizer().moments());
    write_moments(&folder.join(MOMENTS_FILE), groups, moments)?;
    let Position { step, tokens, source } = trainer.position();
    let config = trainer.config().clone();
    let state = TrainerState { step, tokens, wall_s, source, config };
    write_json(&folder.join(STATE_FILE), &state)?;
    seal(folder)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value).expect("plain fields and string keys");
    fs::write(path, text + "\n").map_err(TrainError::write(path))
}

fn write_moments(
    path: &Path,
    groups: &[ParameterGroup],
    moments: &[Moments],
) -> Result<(), TrainError> {
    let bytes = |tensor: &Tensor<1>| -> Vec<u8> {
        let data = tensor.clone().cast(FloatDType::F32).into_data();
        data.iter::<f32>().flat_map(f32::to_le_bytes).collect()
    };
    let mut buffers = Vec::with_capacity(2 * groups.len());
    for (group, moments) in groups.iter().zip(moments) {
        buffers.push((format!("{EXP_AVG}.{}", group.name), bytes(&moments.exp_avg)));
        buffers.push((format!("{EXP_AVG_SQ}.{}", group.name), bytes(&moments.exp_avg_sq)));
    }
    let views = buffers.iter().map(|(name, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        (name, view.expect("the length was computed from the bytes"))
    });
    safetensors::serialize_to_file(views, None, path)
        .map_err(|error| TrainError::write(path)(io::Error::other(error)))
}

fn read_moments(
    path: &Path,
    groups: &[ParameterGroup],
    device: &Device,
) -> Result<Vec<Moments>, TrainError> {
    let file = File::open(path).map_err(TrainError::read(path))?;
    // SAFETY: the map is read-only and private to this call; checkpoints are never rewritten.
    let map = unsafe { Mmap::map(&file) }.map_err(TrainError::read(path))?;
    let damaged = |detail: String| TrainError::Damaged { path: path.to_owned(), detail };
    let tensors = SafeTensors::deserialize(&map).map_err(|error| damaged(error.to_string()))?;
    let read = |moment: &str, group: &ParameterGroup| {
        let name = format!("{moment}.{}", group.name);
        let view = tensors.tensor(&name).map_err(|error| damaged(error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != [group.len()] {
            let (dtype, shape, len) = (view.dtype(), view.shape(), group.len());
            return Err(damaged(format!(
                "`{name}` is {dtype:?} {shape:?}, but must be F32 [{len}]"
            )));
        }
        let words = view.data().chunks_exact(4);
        let values: Vec<f32> =
            words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        Ok(Tensor::from_data(TensorData::new(values, [group.len()]), device))
    };
    groups
        .iter()
        .map(|group| {
            Ok(Moments { exp_avg: read(EXP_AVG, group)?, exp_avg_sq: read(EXP_AVG_SQ, group)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;
    use crate::trainer::tests::{tiny_config, tiny_trainer};

    /// The settings are checked against `trainer.json`, the model is built from `config.json`.
    #[test]
    fn both_descriptions_of_the_model_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let texts = ["a tokenizer for tests".to_owned()];
        let tokenizer = crate::train_bpe(&texts, crate::MIN_VOCAB_SIZE).unwrap().into();
        let files = TokenizerFiles { tokenizer: &tokenizer, chat_template: None };
        let folder = RunFolder::new(dir.path()).save(&tiny_trainer(), files, 0.0).unwrap();
        Checkpoint::open(&folder).unwrap();
        let model = ModelConfig { max_position_embeddings: 8, ..tiny_config().model };
        model.save(&folder.join("config.json")).unwrap();
        fs::remove_file(folder.join(DONE_FILE)).unwrap();
        seal(&folder).unwrap();
        let error = Checkpoint::open(&folder).unwrap_err().to_string();
        assert!(error.contains("max_position_embeddings is 8, not 16"), "{error}");
    }
}
