//! The settings of a run: presets, TOML overrides and checks.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tinyllama_model::{ModelConfig, Tokenizer};

use crate::optimizer::AdamWConfig;
use crate::schedule::Schedule;
use crate::train_error::TrainError;

/// Settings that may change when a run is continued: they do not touch the weights.
const FREE_FIELDS: [&str; 5] = [
    "log_every_steps",
    "eval_every_steps",
    "eval_sequences",
    "save_every_steps",
    "keep_checkpoints",
];

/// Settings that may change when a run is continued and steer its further steps: the way past a loss
/// that breaks down.
const STEERING_FIELDS: [&str; 3] = ["peak_lr", "min_lr", "max_grad_norm"];

/// The tokens of a step are in memory at once; this many take two gigabytes. The largest runs known
/// take a tenth of it.
const MAX_STEP_TOKENS: usize = 1 << 28;

/// Everything that determines a run besides its data; saved in every checkpoint.
///
/// In TOML, the keys are the fields' names and `[model]` holds those of Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Name of the preset the settings started from.
    pub preset: String,
    /// Chooses the first weights and the order of the data; at most 2^63 − 1, the largest of TOML.
    pub seed: u64,
    /// Optimizer steps of the run.
    pub max_steps: u64,
    /// Steps of the linear warmup.
    pub warmup_steps: u64,
    /// Learning rate after the warmup.
    pub peak_lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Sequences of an optimizer step.
    pub batch_size: usize,
    /// Sequences of one forward and backward pass; a divisor of `batch_size`. On the CPU every core
    /// makes a pass of its own, so that memory grows with both.
    pub micro_batch_size: usize,
    /// T: tokens of a sequence.
    pub sequence_tokens: usize,
    /// AdamW's β₁.
    pub beta1: f64,
    /// AdamW's β₂.
    pub beta2: f64,
    /// AdamW's ε.
    pub adam_eps: f64,
    /// AdamW's λ.
    pub weight_decay: f64,
    /// Gradients are clipped to this global norm.
    pub max_grad_norm: f64,
    /// Steps between two lines of the log; the first and the last step are always logged.
    pub log_every_steps: u64,
    /// Steps between two evaluations; the end of the run is always evaluated.
    pub eval_every_steps: u64,
    /// Held-out sequences of an evaluation.
    pub eval_sequences: usize,
    /// Steps between two checkpoints; the end of the run is always saved.
    pub save_every_steps: u64,
    /// Newest checkpoints kept.
    pub keep_checkpoints: usize,
    /// The model's sizes.
    pub model: ModelConfig,
}

/// A setting with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting, with its table, as `model.hidden_size`.
    pub field: String,
    /// The value it had.
    pub before: String,
    /// The value it has now.
    pub now: String,
}

impl Change {
    /// Whether a run may go on with it: it only steers the steps to come.
    pub fn steers(&self) -> bool {
        STEERING_FIELDS.contains(&self.field.as_str())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}, not {}", self.field, self.now, self.before)
    }
}

impl TrainConfig {
    /// The names [`TrainConfig::preset`] knows.
    pub const PRESETS: [&'static str; 3] = ["demo", "tinyllama-120m", "tinyllama-1.1b"];

    /// A run of a few minutes on two CPU cores.
    pub fn demo() -> Self {
        Self {
            preset: "demo".to_owned(),
            max_steps: 320,
            warmup_steps: 40,
            peak_lr: 3e-3,
            min_lr: 3e-5,
            batch_size: 8,
            // Two passes, which two cores run side by side.
            micro_batch_size: 4,
            sequence_tokens: 256,
            log_every_steps: 1,
            eval_every_steps: 80,
            eval_sequences: 128,
            save_every_steps: 80,
            model: ModelConfig::demo(),
            ..Self::tinyllama_1_1b()
        }
    }

    /// The original's settings for the 120M model it was tried out on.
    pub fn tinyllama_120m() -> Self {
        Self {
            preset: "tinyllama-120m".to_owned(),
            model: ModelConfig::tinyllama_120m(),
            ..Self::tinyllama_1_1b()
        }
    }

    /// The three trillion tokens of TinyLlama-1.1B (`pretrain/tinyllama.py`).
    ///
    /// The script's 512 sequences are those of one machine of eight GPUs; the run had two.
    pub fn tinyllama_1_1b() -> Self {
        Self {
            preset: "tinyllama-1.1b".to_owned(),
            seed: 3407,
            max_steps: 1_430_512,
            warmup_steps: 2000,
            peak_lr: 4e-4,
            min_lr: 4e-5,
            batch_size: 1024,
            micro_batch_size: 8,
            sequence_tokens: 2048,
            beta1: 0.9,
            beta2: 0.95,
            adam_eps: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            log_every_steps: 10,
            eval_every_steps: 5000,
            eval_sequences: 800,
            save_every_steps: 5000,
            keep_checkpoints: 2,
            model: ModelConfig::tinyllama_1_1b(),
        }
    }

    /// The preset of that name, one of [`TrainConfig::PRESETS`].
    ///
    /// # Errors
    /// There is none of that name.
    pub fn preset(name: &str) -> Result<Self, TrainError> {
        match name {
            "demo" => Ok(Self::demo()),
            "tinyllama-120m" => Ok(Self::tinyllama_120m()),
            "tinyllama-1.1b" => Ok(Self::tinyllama_1_1b()),
            _ => Err(TrainError::Preset { name: name.to_owned(), known: Self::PRESETS.to_vec() }),
        }
    }

    /// Replaces the settings that a TOML file names.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, names an unknown setting, or has a value of the wrong type.
    pub fn with_file(&self, path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::read(path))?;
        self.with_toml(&text, path)
    }

    /// As [`TrainConfig::with_file`], with the text at hand; `path` is for messages.
    ///
    /// # Errors
    /// The text is no TOML, names an unknown setting, or has a value of the wrong type.
    pub(crate) fn with_toml(&self, text: &str, path: &Path) -> Result<Self, TrainError> {
        let wrong = |message: String| TrainError::Settings { path: path.to_owned(), message };
        let given: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let as_table =
            |config: &Self| toml::Table::try_from(config).map_err(|e| wrong(e.to_string()));
        let mut merged = as_table(self)?;
        merge(&mut merged, &given);
        let config: Self = merged.try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        // A key that reading and writing does not keep is none that is known.
        match unknown_key(&given, &as_table(&config)?, "") {
            Some((field, known)) => {
                Err(TrainError::UnknownSetting { path: path.to_owned(), field, known })
            }
            None => Ok(config),
        }
    }

    /// A run of another length, whose warmup takes at most a tenth of it.
    pub fn with_max_steps(self, max_steps: u64) -> Self {
        Self { max_steps, warmup_steps: self.warmup_steps.min(max_steps / 10), ..self }
    }

    /// Gives the model the tokenizer's special ids and, for the demo, its vocabulary size.
    ///
    /// # Errors
    /// The tokenizer has more tokens than the model.
    pub fn with_tokenizer(mut self, tokenizer: &Tokenizer) -> Result<Self, TrainError> {
        let data_tokens = tokenizer.vocab_size();
        if self.preset == "demo" {
            self.model.vocab_size = data_tokens;
        }
        let model_tokens = self.model.vocab_size;
        if data_tokens > model_tokens {
            return Err(TrainError::Vocabulary { data_tokens, model_tokens });
        }
        self.model.bos_token_id = tokenizer.bos_id();
        self.model.eos_token_id = tokenizer.eos_id();
        self.model.other_eos_token_ids.clear();
        Ok(self)
    }

    /// Checks that the settings fit each other.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.model.validate().map_err(|source| TrainError::Model { source })?;
        for (field, value) in [
            ("max_steps", self.max_steps),
            ("batch_size", self.batch_size as u64),
            ("micro_batch_size", self.micro_batch_size as u64),
            ("sequence_tokens", self.sequence_tokens as u64),
            ("log_every_steps", self.log_every_steps),
            ("eval_every_steps", self.eval_every_steps),
            ("eval_sequences", self.eval_sequences as u64),
            ("save_every_steps", self.save_every_steps),
            ("keep_checkpoints", self.keep_checkpoints as u64),
        ] {
            require(value > 0, field, value, || "at least 1".to_owned())?;
        }
        let largest = i64::MAX as u64;
        require(self.seed <= largest, "seed", self.seed, || format!("at most {largest}"))?;
        let Self { max_steps, batch_size, .. } = *self;
        let context = self.model.max_position_embeddings;
        require(self.warmup_steps <= max_steps, "warmup_steps", self.warmup_steps, || {
            format!("at most max_steps = {max_steps}")
        })?;
        let micro = self.micro_batch_size;
        require(batch_size.is_multiple_of(micro), "micro_batch_size", micro, || {
            format!("a divisor of batch_size = {batch_size}")
        })?;
        let sequence_tokens = self.sequence_tokens;
        require(sequence_tokens <= context, "sequence_tokens", sequence_tokens, || {
            format!("at most model.max_position_embeddings = {context}")
        })?;
        let most = MAX_STEP_TOKENS / sequence_tokens;
        require(batch_size <= most, "batch_size", batch_size, || {
            format!("at most {most}: a step has room for {MAX_STEP_TOKENS} tokens")
        })?;
        self.validate_constants()
    }

    fn validate_constants(&self) -> Result<(), TrainError> {
        for (field, value) in [("peak_lr", self.peak_lr), ("max_grad_norm", self.max_grad_norm)] {
            let holds = value.is_finite() && value > 0.0;
            require(holds, field, value, || "finite and above 0".to_owned())?;
        }
        let decay = self.weight_decay;
        require(decay.is_finite() && decay >= 0.0, "weight_decay", decay, || {
            "finite and not negative".to_owned()
        })?;
        // In f32, in which it is added: without it a parameter without a gradient becomes 0 / 0.
        let eps = self.adam_eps as f32;
        require(eps.is_finite() && eps > 0.0, "adam_eps", self.adam_eps, || {
            "finite and above 0 in f32".to_owned()
        })?;
        for (field, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            require((0.0..1.0).contains(&value), field, value, || {
                "at least 0 and below 1".to_owned()
            })?;
        }
        let peak = self.peak_lr;
        require((0.0..=peak).contains(&self.min_lr), "min_lr", self.min_lr, || {
            format!("between 0 and peak_lr = {peak}")
        })
    }

    /// The settings that change the weights and differ from `other`'s.
    pub(crate) fn changes(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        collect_changes(&json(self), &json(other), "", &mut changes);
        changes
    }

    /// The first size in which a model differs from the settings'. The dtype of its file does not
    /// count: weights are trained and saved in f32 whatever the run began with.
    pub(crate) fn model_difference(&self, model: &ModelConfig) -> Option<Change> {
        let torch_dtype = model.torch_dtype.clone();
        let settings = ModelConfig { torch_dtype, ..self.model.clone() };
        let mut changes = Vec::new();
        collect_changes(&json(&settings), &json(model), "model", &mut changes);
        changes.into_iter().next()
    }

    /// Forward and backward passes of a step.
    pub(crate) fn grad_accum_steps(&self) -> usize {
        self.batch_size / self.micro_batch_size
    }

    /// The learning rates.
    pub(crate) fn schedule(&self) -> Schedule {
        let Self { peak_lr, min_lr, warmup_steps, max_steps, .. } = *self;
        Schedule { peak_lr, min_lr, warmup_steps, max_steps }
    }

    /// The optimizer's constants.
    pub(crate) fn adamw(&self) -> AdamWConfig {
        let Self { beta1, beta2, adam_eps: eps, weight_decay, max_grad_norm, .. } = *self;
        AdamWConfig { beta1, beta2, eps, weight_decay, max_grad_norm }
    }
}

fn require(
    holds: bool,
    field: &'static str,
    value: impl ToString,
    requirement: impl FnOnce() -> String,
) -> Result<(), TrainError> {
    match holds {
        true => Ok(()),
        false => {
            Err(TrainError::Invalid { field, value: value.to_string(), requirement: requirement() })
        }
    }
}

/// Lays `over` on `base`, table by table.
fn merge(base: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            _ => _ = base.insert(key.clone(), value.clone()),
        }
    }
}

/// The first key of `given` that `known` lacks, and the keys of the table where it is missing.
fn unknown_key(
    given: &toml::Table,
    known: &toml::Table,
    prefix: &str,
) -> Option<(String, Vec<String>)> {
    given.iter().find_map(|(key, value)| match (value, known.get(key)) {
        (_, None) => Some((format!("{prefix}{key}"), known.keys().cloned().collect())),
        (toml::Value::Table(given), Some(toml::Value::Table(known))) => {
            unknown_key(given, known, &format!("{prefix}{key}."))
        }
        _ => None,
    })
}

fn json(config: &impl Serialize) -> Value {
    serde_json::to_value(config).expect("plain fields serialize")
}

fn collect_changes(before: &Value, now: &Value, field: &str, changes: &mut Vec<Change>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let new_keys = now.keys().filter(|key| !before.contains_key(*key));
            let keys = before.keys().chain(new_keys);
            for key in keys.filter(|key| !FREE_FIELDS.contains(&key.as_str())) {
                let name = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                let of =
                    |object: &serde_json::Map<_, _>| object.get(key).cloned().unwrap_or_default();
                collect_changes(&of(before), &of(now), &name, changes);
            }
        }
        _ if before == now => {}
        _ => changes.push(Change {
            field: field.to_owned(),
            before: before.to_string(),
            now: now.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
