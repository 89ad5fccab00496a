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

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tinyllama_model::{FlatParameters, ParameterGroup, TinyLlama, Tokenizer, weights};

use crate::config::TrainConfig;
use crate::optimizer::Moments;
use crate::source::BatchSource;
use crate::train_error::TrainError;
use crate::trainer::{Position, Trainer};

const DONE_FILE: &str = "DONE";
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
        for leftover in [&partial, &folder] {
            // An interrupted attempt, or a damaged checkpoint that the run went back behind.
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(TrainError::write(leftover))?;
            }
        }
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
        fs::rename(&partial, &folder).map_err(TrainError::write(&folder))?;
        sync_folder(&checkpoints)?;
        self.set_latest(&name)?;
        for (_, old) in self.checkpoints()?.into_iter().skip(trainer.config().keep_checkpoints) {
            fs::remove_dir_all(&old).map_err(TrainError::write(&old))?;
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
    verify(folder)?;
    let state = read_state(folder)?;
    let model = weights::load(folder, device)?;
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

/// Forces every file to disk and writes the marker that lists them.
fn seal(folder: &Path) -> Result<(), TrainError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(TrainError::read(folder))? {
        names.push(entry.map_err(TrainError::read(folder))?.file_name());
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        let path = folder.join(&name);
        sync(&path)?;
        lines += &format!("{}  {}\n", sha256(&path)?, name.to_string_lossy());
    }
    let done = folder.join(DONE_FILE);
    fs::write(&done, lines).map_err(TrainError::write(&done))?;
    sync(&done)?;
    sync_folder(folder)
}

/// Compares every file with the marker.
fn verify(folder: &Path) -> Result<(), TrainError> {
    let done = folder.join(DONE_FILE);
    let text = fs::read_to_string(&done).map_err(TrainError::read(&done))?;
    let expected: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    for name in ["config.json", "model.safetensors", MOMENTS_FILE, STATE_FILE] {
        let path = folder.join(name);
        let found = sha256(&path)?;
        if expected.get(name).copied() != Some(found.as_str()) {
            let detail = "its sha256 is not the one in DONE, the file is damaged".to_owned();
            return Err(TrainError::Damaged { path, detail });
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String, TrainError> {
    let mut file = File::open(path).map_err(TrainError::read(path))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).map_err(TrainError::read(path))? {
            0 => break,
            len => hasher.update(&chunk[..len]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sync(path: &Path) -> Result<(), TrainError> {
    // Windows syncs only what is open for writing.
    let file = File::options().write(true).open(path).map_err(TrainError::write(path))?;
    file.sync_all().map_err(TrainError::write(path))
}

/// A name is on disk only when the folder that holds it is.
fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    match cfg!(unix) {
        true => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(TrainError::write(folder)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
