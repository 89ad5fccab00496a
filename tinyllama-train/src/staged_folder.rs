//! A data set folder that appears whole or not at all.
//!
//! Files are made in a hidden folder inside the target, so that both are on one disk whatever the
//! target is, a link or a mounted volume. A commit forces them to disk and moves them up, the
//! description last: a folder without one is no data set.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tinyllama_model::disk::{sync, sync_folder};

use crate::corpus::sorted_entries;
use crate::data_error::DataError;
use crate::dataset::{DESCRIPTION_FILE, is_of_dataset};
use crate::disk::try_lock;

const STAGING: &str = ".partial";
const LOCK_FILE: &str = ".lock";

/// A data set in the making, removed unless committed.
#[derive(Debug)]
pub(crate) struct StagedFolder {
    staging: PathBuf,
    target: PathBuf,
    /// Whether the target was made here.
    is_new: bool,
    /// Whether a data set in the target goes at the commit.
    replaces: bool,
    is_committed: bool,
    /// Held until the end: of two processes that make one data set, the second stops.
    _lock: File,
}

impl StagedFolder {
    /// Starts a data set in a folder that is absent or empty, or, if `replaces`, holds a data set and
    /// nothing else, which stays until the commit. What an interrupted attempt has left goes.
    pub(crate) fn create(target: &Path, replaces: bool) -> Result<Self, DataError> {
        let target = std::path::absolute(target).map_err(DataError::write(target))?;
        let is_new = !target.exists();
        let staging = target.join(STAGING);
        if !is_new {
            let is_in_the_way = |path: &PathBuf| {
                let is_old = replaces && path.file_name().is_some_and(is_of_dataset);
                *path != staging && !is_old
            };
            if !target.is_dir() || sorted_entries(&target)?.iter().any(is_in_the_way) {
                return Err(DataError::OutputExists { path: target });
            }
        }
        fs::create_dir_all(&staging).map_err(DataError::write(&staging))?;
        let lock_path = staging.join(LOCK_FILE);
        let lock = try_lock(&lock_path).map_err(DataError::write(&lock_path))?;
        let busy = || DataError::OutputBusy { path: target.clone() };
        let lock = lock.ok_or_else(busy)?;
        let staged = Self { staging, target, is_new, replaces, is_committed: false, _lock: lock };
        for leftover in staged.files()? {
            fs::remove_file(&leftover).map_err(DataError::write(&leftover))?;
        }
        Ok(staged)
    }

    /// Where its files go.
    pub(crate) fn path(&self) -> &Path {
        &self.staging
    }

    /// Makes the files those of the target. If that fails they stay in `path`, for they may be hours of
    /// work, until the next attempt. What others have put into the target meanwhile stays, too.
    pub(crate) fn commit(mut self) -> Result<(), DataError> {
        self.is_committed = true;
        let mut files = self.files()?;
        let is_description = |path: &PathBuf| path.ends_with(DESCRIPTION_FILE);
        files.sort_by_key(is_description);
        for file in &files {
            sync(file).map_err(DataError::write(file))?;
        }
        let mut replaced = sorted_entries(&self.target)?;
        replaced.retain(|path| self.replaces && path.file_name().is_some_and(is_of_dataset));
        replaced.sort_by_key(|path| !is_description(path));
        for old in &replaced {
            fs::remove_file(old).map_err(DataError::write(old))?;
        }
        for file in &files {
            let name = file.file_name().expect("an entry of a folder has a name");
            let path = self.target.join(name);
            fs::rename(file, &path).map_err(DataError::write(&path))?;
        }
        fs::remove_dir_all(&self.staging)
            .and_then(|()| sync_folder(&self.target))
            .map_err(DataError::write(&self.target))
    }

    fn files(&self) -> Result<Vec<PathBuf>, DataError> {
        let mut files = sorted_entries(&self.staging)?;
        files.retain(|path| !path.ends_with(LOCK_FILE));
        Ok(files)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        if !self.is_committed {
            // After an error nobody needs what there is; failing to remove it changes nothing.
            let _ = fs::remove_dir_all(&self.staging);
            if self.is_new {
                let _ = fs::remove_dir(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a data set of one token file.
    fn stage(target: &Path, replaces: bool, tokens: &str) -> Result<StagedFolder, DataError> {
        let staged = StagedFolder::create(target, replaces)?;
        fs::write(staged.path().join(DESCRIPTION_FILE), "{}").unwrap();
        fs::write(staged.path().join("train_00000.bin"), tokens).unwrap();
        Ok(staged)
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        sorted_entries(folder).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_data_set_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep").join("out");
        drop(stage(&target, false, "a").unwrap());
        assert!(!target.exists());

        stage(&target, false, "a").unwrap().commit().unwrap();
        assert_eq!(names(&target), ["dataset.json", "train_00000.bin"]);
        let error = StagedFolder::create(&target, false).unwrap_err();
        assert!(matches!(error, DataError::OutputExists { .. }), "{error}");
    }

    #[test]
    fn an_old_data_set_stays_until_the_new_one_is_there() {
        let dir = tempfile::tempdir().unwrap();
        stage(dir.path(), false, "old").unwrap().commit().unwrap();
        let tokens = || fs::read_to_string(dir.path().join("train_00000.bin")).unwrap();
        fs::write(dir.path().join("validation_00000.bin"), "old").unwrap();
        let staged = stage(dir.path(), true, "new").unwrap();
        assert_eq!(tokens(), "old");
        drop(staged);
        assert_eq!(tokens(), "old");
        let staged = stage(dir.path(), true, "new").unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        staged.commit().unwrap();
        assert_eq!(tokens(), "new");
        assert_eq!(names(dir.path()), ["dataset.json", "notes.txt", "train_00000.bin"]);

        let error = StagedFolder::create(dir.path(), true).unwrap_err();
        assert!(matches!(error, DataError::OutputExists { .. }), "{error}");
        assert_eq!(tokens(), "new");
    }

    #[test]
    fn one_process_at_a_time_and_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = dir.path().join(STAGING).join("train_00003.bin");
        fs::create_dir_all(leftover.parent().unwrap()).unwrap();
        fs::write(&leftover, "cut off").unwrap();
        let staged = stage(dir.path(), false, "a").unwrap();
        assert!(!leftover.exists());
        let error = StagedFolder::create(dir.path(), false).unwrap_err();
        assert!(matches!(error, DataError::OutputBusy { .. }), "{error}");
        staged.commit().unwrap();
        assert_eq!(names(dir.path()), ["dataset.json", "train_00000.bin"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_empty_folder_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        stage(&link, false, "a").unwrap().commit().unwrap();
        assert_eq!(names(&real), ["dataset.json", "train_00000.bin"]);
    }
}
