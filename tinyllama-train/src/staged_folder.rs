//! A folder that appears whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::corpus::sorted_entries;
use crate::data_error::DataError;

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
}
