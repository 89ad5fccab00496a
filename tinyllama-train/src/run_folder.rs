//! Run folders: checkpoints that are whole or absent.
//!
//! ```text
//! RUN/latest                       name of the newest complete checkpoint, `step-00000123`
//! RUN/checkpoints/step-00000123/   a checkpoint
//! RUN/checkpoints/step-00000100.damaged/
//!                                  one that was found damaged when the run was continued
//! RUN/.lock                        locked while a process trains here
//! ```
//!
//! A checkpoint is written under another name, forced to disk and renamed; a kill at any moment
//! leaves the checkpoints before it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tinyllama_model::disk::{sync, sync_folder};

use crate::checkpoint::{self, Checkpoint, TokenizerFiles, is_complete};
use crate::config::{Change, TrainConfig};
use crate::disk::{remove_folder, try_lock};
use crate::source::BatchSource;
use crate::train_error::TrainError;
use crate::trainer::Trainer;

const LATEST_FILE: &str = "latest";
const LOCK_FILE: &str = ".lock";

/// A folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// The right to train in a run folder, until it is dropped or the process ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
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

    /// Keeps other processes from training here: two runs that save into one folder would mix their
    /// files. Makes the folder.
    ///
    /// # Errors
    /// Another process trains here, or the folder cannot be written.
    pub fn lock(&self) -> Result<RunLock, TrainError> {
        let path = self.root.join(LOCK_FILE);
        fs::create_dir_all(&self.root).map_err(TrainError::write(&self.root))?;
        match try_lock(&path).map_err(TrainError::write(&path))? {
            Some(file) => Ok(RunLock { _file: file }),
            None => Err(TrainError::RunBusy { folder: self.root.clone() }),
        }
    }

    /// Complete checkpoints with their steps, newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let folder = self.checkpoints_folder();
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(TrainError::read(&folder))? {
            let path = entry.map_err(TrainError::read(&folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix("step-")?.parse().ok());
            if let Some(step) = step.filter(|_| is_complete(&path)) {
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

    /// The newest checkpoint that is whole, which `latest` then names. Damaged ones before it are set
    /// aside under the name `step-N.damaged`, and `warn` hears of each.
    ///
    /// # Errors
    /// There is none, or the folder cannot be read or written.
    pub fn newest(&self, mut warn: impl FnMut(&TrainError)) -> Result<Checkpoint, TrainError> {
        for (step, folder) in self.checkpoints()? {
            match Checkpoint::open(&folder) {
                Ok(checkpoint) => {
                    self.set_latest(&name_of(step))?;
                    return Ok(checkpoint);
                }
                Err(error @ TrainError::Damaged { .. }) => {
                    warn(&error);
                    let aside = folder.with_extension("damaged");
                    remove_folder(&aside)
                        .and_then(|()| fs::rename(&folder, &aside))
                        .map_err(TrainError::write(&aside))?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(TrainError::NothingToResume { folder: self.root.clone() })
    }

    /// Refuses to continue with other settings than the run was started with. Those of logging and
    /// saving may change; so may those that steer the steps to come, and these changes are returned.
    ///
    /// # Errors
    /// Names the first setting that differs and may not.
    pub fn require_unchanged(
        &self,
        saved: &TrainConfig,
        given: &TrainConfig,
    ) -> Result<Vec<Change>, TrainError> {
        let changes = saved.changes(given);
        match changes.iter().find(|change| !change.steers()) {
            None => Ok(changes),
            Some(change) => {
                Err(TrainError::Changed { folder: self.root.clone(), change: change.clone() })
            }
        }
    }

    /// Saves a trainer, makes it the latest, and deletes all but the newest `keep_checkpoints` up to
    /// its step.
    ///
    /// # Errors
    /// A file or folder cannot be written.
    pub fn save<S: BatchSource>(
        &self,
        trainer: &Trainer<S>,
        files: TokenizerFiles<'_>,
        wall_s: f64,
    ) -> Result<PathBuf, TrainError> {
        let step = trainer.position().step;
        let name = name_of(step);
        let checkpoints = self.checkpoints_folder();
        let folder = checkpoints.join(&name);
        let partial = checkpoints.join(format!(".{name}.partial"));
        let write = |path: &Path| TrainError::write(path.to_owned());
        self.remove_leftovers()?;
        fs::create_dir_all(&partial).map_err(write(&partial))?;
        checkpoint::write(&partial, trainer, files, wall_s)?;
        // The same step saved before steps aside; of a kill in between, both are left.
        let replaced = checkpoints.join(format!(".{name}.replaced"));
        if folder.exists() {
            remove_folder(&replaced)
                .and_then(|()| fs::rename(&folder, &replaced))
                .map_err(write(&folder))?;
        }
        fs::rename(&partial, &folder)
            .and_then(|()| sync_folder(&checkpoints))
            .map_err(write(&folder))?;
        remove_folder(&replaced).map_err(write(&replaced))?;
        self.set_latest(&name)?;
        let up_to_here = self.checkpoints()?.into_iter().filter(|(found, _)| *found <= step);
        for (_, old) in up_to_here.skip(trainer.config().keep_checkpoints) {
            remove_folder(&old).map_err(write(&old))?;
        }
        Ok(folder)
    }

    fn checkpoints_folder(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Deletes what interrupted attempts to save have left.
    fn remove_leftovers(&self) -> Result<(), TrainError> {
        let folder = self.checkpoints_folder();
        if !folder.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&folder).map_err(TrainError::read(&folder))? {
            let path = entry.map_err(TrainError::read(&folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(".step-") && name.ends_with(".partial") {
                remove_folder(&path).map_err(TrainError::write(&path))?;
            }
        }
        Ok(())
    }

    fn set_latest(&self, name: &str) -> Result<(), TrainError> {
        let (path, partial) = (self.root.join(LATEST_FILE), self.root.join(".latest.partial"));
        fs::write(&partial, format!("{name}\n"))
            .and_then(|()| sync(&partial))
            .map_err(TrainError::write(&partial))?;
        fs::rename(&partial, &path)
            .and_then(|()| sync_folder(&self.root))
            .map_err(TrainError::write(&path))
    }
}

fn name_of(step: u64) -> String {
    format!("step-{step:08}")
}

#[cfg(test)]
mod tests;
