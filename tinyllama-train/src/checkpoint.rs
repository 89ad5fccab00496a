//! Run folders: checkpoints that are whole or absent.
//!
//! ```text
//! RUN/latest                               name of the newest complete checkpoint, `step-00000123`
//! RUN/checkpoints/step-00000123/
//!     config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json
//!     trainer.safetensors                  AdamW's moments, one flat buffer per parameter group
//!     trainer.json                         step, tokens, position in the data, settings
//!     DONE                                 sha256 of each file, as `sha256sum -c DONE` reads it
//! ```
//!
//! The first line of files is a model folder in Hugging Face layout. A checkpoint is written under
//! another name, forced to disk and renamed; a kill at any moment leaves the checkpoints before it.

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
use tinyllama_model::{FlatParameters, ModelConfig, ParameterGroup, TinyLlama, Tokenizer, weights};

use self::seal::{DONE_FILE, seal, sync, sync_folder, verify};
use crate::config::TrainConfig;
use crate::optimizer::Moments;
use crate::source::BatchSource;
use crate::train_error::TrainError;
use crate::trainer::{Position, Trainer};

const STATE_FILE: &str = "trainer.json";
const MOMENTS_FILE: &str = "trainer.safetensors";
const LATEST_FILE: &str = "latest";
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

/// A checkpoint in memory.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// Step, data and settings.
    pub state: TrainerState,
    /// The weights, bit for bit.
    pub model: TinyLlama,
    /// AdamW's moments, in the order of [`FlatParameters::groups`].
    pub moments: Vec<Moments>,
}

/// What a checkpoint holds besides the trainer, so that it is a complete model folder.
#[derive(Clone, Copy, Debug)]
pub struct TokenizerFiles<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The Jinja text of the chat template, for models that chat.
    pub chat_template: Option<&'a str>,
}

/// A folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// Names a folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Complete checkpoints with their steps, newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let folder = self.root.join("checkpoints");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(TrainError::read(&folder))? {
            let path = entry.map_err(TrainError::read(&folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix("step-")?.parse().ok());
            if let Some(step) = step.filter(|_| path.join(DONE_FILE).exists()) {
                found.push((step, path));
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Refuses a folder that holds a run already: a new run never overwrites another.
    ///
    /// # Errors
    /// It holds a checkpoint, or cannot be read.
    pub fn require_new(&self) -> Result<(), TrainError> {
        match self.checkpoints()?.first() {
            None => Ok(()),
            Some(&(step, _)) => Err(TrainError::RunExists { folder: self.root.clone(), step }),
        }
    }

    /// Saves a trainer, makes it the latest, and deletes all but the newest `keep_checkpoints`.
    ///
    /// # Errors
    /// A file or folder cannot be written.
    pub fn save<S: BatchSource>(
        &self,
        trainer: &Trainer<S>,
        files: TokenizerFiles<'_>,
        wall_s: f64,
    ) -> Result<PathBuf, TrainError> {
        let Position { step, tokens, source } = trainer.position();
        let name = format!("step-{step:08}");
        let checkpoints = self.root.join("checkpoints");
        let folder = checkpoints.join(&name);
        let partial = checkpoints.join(format!(".{name}.partial"));
        remove_folder(&partial)?; // An interrupted attempt.
        fs::create_dir_all(&partial).map_err(TrainError::write(&partial))?;
        let model = trainer.model();
        weights::save(&model, &partial)?;
        files.tokenizer.save(&partial, files.chat_template)?;
        write_json(&partial.join("generation_config.json"), &generation_config(&model))?;
        write_moments(
            &partial.join(MOMENTS_FILE),
            trainer.parameters().groups(),
            trainer.optimizer().moments(),
        )?;
        let config = trainer.config().clone();
        let state = TrainerState { step, tokens, wall_s, source, config };
        write_json(&partial.join(STATE_FILE), &state)?;
        seal(&partial)?;
        // The same step saved before; it stays until there is something in its place.
        remove_folder(&folder)?;
        fs::rename(&partial, &folder).map_err(TrainError::write(&folder))?;
        sync_folder(&checkpoints)?;
        self.set_latest(&name)?;
        for (_, old) in self.checkpoints()?.into_iter().skip(trainer.config().keep_checkpoints) {
            remove_folder(&old)?;
        }
        Ok(folder)
    }

    /// Loads the newest checkpoint that is whole, onto a device without autodiff. `warn` hears of
    /// each damaged one that is passed over.
    ///
    /// # Errors
    /// There is none, or the folder cannot be read.
    pub fn load_newest(
        &self,
        device: &Device,
        mut warn: impl FnMut(&TrainError),
    ) -> Result<LoadedCheckpoint, TrainError> {
        for (_, folder) in self.checkpoints()? {
            match load(&folder, device) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error) => warn(&error),
            }
        }
        Err(TrainError::NothingToResume { folder: self.root.clone() })
    }

    /// The settings of the newest checkpoint whose `trainer.json` can be read.
    ///
    /// # Errors
    /// There is none, or the folder cannot be read.
    pub fn saved_config(&self) -> Result<TrainConfig, TrainError> {
        let mut states = self.checkpoints()?.into_iter().map(|(_, folder)| read_state(&folder));
        let state = states.find_map(Result::ok);
        let nothing = || TrainError::NothingToResume { folder: self.root.clone() };
        state.map(|state| state.config).ok_or_else(nothing)
    }

    /// Refuses to continue with other settings than the run was started with; those of logging and
    /// saving may change.
    ///
    /// # Errors
    /// Names the first setting that differs.
    pub fn require_unchanged(
        &self,
        saved: &TrainConfig,
        given: &TrainConfig,
    ) -> Result<(), TrainError> {
        match saved.difference(given) {
            None => Ok(()),
            Some((field, saved, given)) => {
                Err(TrainError::Changed { folder: self.root.clone(), field, saved, given })
            }
        }
    }

    fn set_latest(&self, name: &str) -> Result<(), TrainError> {
        let (path, partial) = (self.root.join(LATEST_FILE), self.root.join(".latest.partial"));
        fs::write(&partial, format!("{name}\n")).map_err(TrainError::write(&partial))?;
        sync(&partial)?;
        fs::rename(&partial, &path).map_err(TrainError::write(&path))?;
        sync_folder(&self.root)
    }
}

fn load(folder: &Path, device: &Device) -> Result<LoadedCheckpoint, TrainError> {
    verify(folder, &["config.json", "model.safetensors", MOMENTS_FILE, STATE_FILE])?;
    let state = read_state(folder)?;
    let model = weights::load(folder, device)?;
    // Weights are saved in f32 whatever the run began with.
    let torch_dtype = model.config().torch_dtype.clone();
    if (ModelConfig { torch_dtype, ..state.config.model.clone() }) != *model.config() {
        let detail = format!("describes another model than {STATE_FILE}");
        return Err(TrainError::Damaged { path: folder.join("config.json"), detail });
    }
    let groups = FlatParameters::from_model(&model);
    let moments = read_moments(&folder.join(MOMENTS_FILE), groups.groups(), device)?;
    Ok(LoadedCheckpoint { folder: folder.to_owned(), state, model, moments })
}

fn read_state(folder: &Path) -> Result<TrainerState, TrainError> {
    let path = folder.join(STATE_FILE);
    let text = fs::read_to_string(&path).map_err(TrainError::read(&path))?;
    serde_json::from_str(&text)
        .map_err(|error| TrainError::Damaged { path, detail: error.to_string() })
}

/// The ids with which generation starts and stops, as transformers reads them.
fn generation_config(model: &TinyLlama) -> Value {
    let config = model.config();
    let mut entries = serde_json::Map::new();
    if let Some(bos) = config.bos_token_id {
        entries.insert("bos_token_id".to_owned(), bos.into());
    }
    match config.eos_token_ids().as_slice() {
        [] => {}
        &[eos] => _ = entries.insert("eos_token_id".to_owned(), eos.into()),
        several => _ = entries.insert("eos_token_id".to_owned(), several.into()),
    }
    Value::Object(entries)
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

fn remove_folder(path: &Path) -> Result<(), TrainError> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(TrainError::write(path)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
