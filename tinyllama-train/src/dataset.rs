//! `dataset.json`, which says what a data set folder holds and completes it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data_error::DataError;
use crate::shards::{Split, SplitSize};

/// File name of the description.
pub(crate) const DESCRIPTION_FILE: &str = "dataset.json";

/// File name of the tokenizer.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// What a data set folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetDescription {
    /// Number of tokens the tokenizer knows.
    pub vocab_size: usize,
    /// Fingerprint of the tokenizer beside.
    pub tokenizer_fingerprint: String,
    /// Size of the training split.
    pub train: SplitSize,
    /// Size of the validation split.
    pub validation: SplitSize,
    /// Where the text came from, if it is the registry corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryDescription>,
}

/// Where the text of a registry data set came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryDescription {
    /// What determines the text and the tokens.
    #[serde(flatten)]
    pub key: RegistryKey,
    /// Registry packages the lock file names; the others are for other platforms.
    pub num_lock_packages: usize,
    /// SHA-256 over the text of every document in order, a zero byte after each, in hexadecimal.
    pub sha256: String,
    /// Files left out for their size.
    pub num_large_files: u64,
    /// Files left out because they are not UTF-8.
    pub num_binary_files: u64,
}

/// What determines the text and the tokens of a registry data set: an equal key means that the data
/// set need not be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryKey {
    /// Version of the rules by which the corpus is read, split and tokenized.
    pub rules_version: u32,
    /// SHA-256 of the lock file.
    pub lock_sha256: String,
    /// Packages found.
    pub num_packages: usize,
    /// Bytes after which the corpus was cut off.
    pub max_bytes: Option<u64>,
    /// Vocabulary size asked for.
    pub requested_vocab_size: usize,
}

impl DatasetDescription {
    /// Reads the description of a folder; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read or is malformed.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join(DESCRIPTION_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(DataError::read(&path))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| DataError::Description { path, message: error.to_string() })
    }

    /// What its folder should have of a split.
    pub(crate) fn size_of(&self, split: Split) -> SplitSize {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join(DESCRIPTION_FILE);
        let text = serde_json::to_string_pretty(self).expect("plain fields always serialize");
        fs::write(&path, text + "\n").map_err(DataError::write(&path))
    }
}

/// Whether a file of that name is one of a data set.
pub(crate) fn is_of_dataset(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let is_shard = name.ends_with(".bin")
            && (name.starts_with("train_") || name.starts_with("validation_"));
        is_shard || [DESCRIPTION_FILE, TOKENIZER_FILE, "tokenizer_config.json"].contains(&name)
    })
}
