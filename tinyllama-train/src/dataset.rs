//! `dataset.json`, which says what a data set folder holds and completes it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::sorted_entries;
use crate::data_error::DataError;
use crate::shards::SplitSize;

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

    pub(crate) fn write(&self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join(DESCRIPTION_FILE);
        let text = serde_json::to_string_pretty(self).expect("plain fields always serialize");
        fs::write(&path, text + "\n").map_err(DataError::write(&path))
    }
}

/// Deletes the files of a data set, and nothing else, from `folder`.
pub(crate) fn remove_dataset(folder: &Path) -> Result<(), DataError> {
    let is_ours = |name: &str| {
        let is_shard = name.ends_with(".bin")
            && (name.starts_with("train_") || name.starts_with("validation_"));
        is_shard || [DESCRIPTION_FILE, TOKENIZER_FILE, "tokenizer_config.json"].contains(&name)
    };
    // The description goes first: a folder without it is not taken for complete.
    let description = folder.join(DESCRIPTION_FILE);
    fs::remove_file(&description).map_err(DataError::write(&description))?;
    for path in sorted_entries(folder)? {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours) {
            fs::remove_file(&path).map_err(DataError::write(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_data_set_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["dataset.json", "tokenizer.json", "train_00000.bin", "notes.txt", "other.bin"];
        for name in files {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove_dataset(dir.path()).unwrap();
        let left = sorted_entries(dir.path()).unwrap();
        assert_eq!(left, [dir.path().join("notes.txt"), dir.path().join("other.bin")]);
    }
}
