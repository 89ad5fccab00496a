//! `dataset.json`, which says what a data set folder holds and completes it, and the staging that
//! makes the folder appear whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::corpus::sorted_entries;
use crate::data_error::DataError;
use crate::shards::SplitSize;

/// File name of the description.
pub const DESCRIPTION_FILE: &str = "dataset.json";

/// File name of the tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

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
    /// SHA-256 of the text, both splits together, as in [`crate::CorpusSummary`].
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
    pub fn read(folder: &Path) -> Result<Option<Self>, DataError> {
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

/// A folder under a temporary name beside its target, removed unless committed.
#[derive(Debug)]
pub(crate) struct StagedFolder {
    staging: PathBuf,
    target: PathBuf,
}

impl StagedFolder {
    /// Starts anew, whatever an interrupted attempt has left behind.
    pub(crate) fn create(target: &Path) -> Result<Self, DataError> {
        let target = std::path::absolute(target).map_err(DataError::write(target))?;
        let exists = || DataError::OutputExists { path: target.clone() };
        if target.exists() && (!target.is_dir() || !sorted_entries(&target)?.is_empty()) {
            return Err(exists());
        }
        let name = target.file_name().ok_or_else(exists)?.to_string_lossy();
        let staging = target.with_file_name(format!(".{name}.partial"));
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(DataError::write(&staging))?;
        }
        fs::create_dir_all(&staging).map_err(DataError::write(&staging))?;
        Ok(Self { staging, target })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.staging
    }

    /// Gives the folder its name.
    pub(crate) fn commit(self) -> Result<(), DataError> {
        let write = || DataError::write(self.target.as_path());
        if self.target.exists() {
            // Empty, or this fails: `rename` onto a folder is not portable.
            fs::remove_dir(&self.target).map_err(write())?;
        }
        fs::rename(&self.staging, &self.target).map_err(write())?;
        if let Some(parent) = self.target.parent().filter(|_| cfg!(unix)) {
            // The name itself is on disk only when the folder that holds it is.
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(write())?;
        }
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // After a commit there is nothing left; after an error nobody needs the rest.
        let _ = fs::remove_dir_all(&self.staging);
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
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep").join("out");
        let staged = StagedFolder::create(&target).unwrap();
        fs::write(staged.path().join("file"), "x").unwrap();
        drop(staged);
        assert!(sorted_entries(&dir.path().join("deep")).unwrap().is_empty());

        let staged = StagedFolder::create(&target).unwrap();
        fs::write(staged.path().join("file"), "x").unwrap();
        staged.commit().unwrap();
        assert_eq!(
            sorted_entries(&dir.path().join("deep")).unwrap(),
            std::slice::from_ref(&target)
        );
        assert!(target.join("file").exists());

        let error = StagedFolder::create(&target).unwrap_err();
        assert!(matches!(error, DataError::OutputExists { .. }), "{error}");
    }

    #[test]
    fn an_empty_target_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let staged = StagedFolder::create(dir.path()).unwrap();
        fs::write(staged.path().join("file"), "x").unwrap();
        staged.commit().unwrap();
        assert!(dir.path().join("file").exists());
    }

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
