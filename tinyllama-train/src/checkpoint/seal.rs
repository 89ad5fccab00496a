//! `DONE`: the marker that completes a checkpoint, with the checksum of every file in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::train_error::TrainError;

/// File name of the marker; `sha256sum -c DONE` reads it.
pub(super) const DONE_FILE: &str = "DONE";

/// Forces every file to disk and writes the marker that lists them.
pub(super) fn seal(folder: &Path) -> Result<(), TrainError> {
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

/// Compares every file that the marker lists with it; `needed` files must be among them.
pub(super) fn verify(folder: &Path, needed: &[&str]) -> Result<(), TrainError> {
    let done = folder.join(DONE_FILE);
    let text = fs::read_to_string(&done).map_err(TrainError::read(&done))?;
    let listed: Vec<_> = text.lines().filter_map(|line| line.split_once("  ")).collect();
    if let Some(name) = needed.iter().find(|name| listed.iter().all(|(_, file)| file != *name)) {
        let detail = format!("does not list {name}, the file is damaged");
        return Err(TrainError::Damaged { path: done, detail });
    }
    for (sum, name) in listed {
        let path = folder.join(name);
        if sha256(&path)? != sum {
            let detail = "its sha256 is not the one in DONE, the file is damaged".to_owned();
            return Err(TrainError::Damaged { path, detail });
        }
    }
    Ok(())
}

pub(super) fn sha256(path: &Path) -> Result<String, TrainError> {
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

pub(super) fn sync(path: &Path) -> Result<(), TrainError> {
    // Windows syncs only what is open for writing.
    let file = File::options().write(true).open(path).map_err(TrainError::write(path))?;
    file.sync_all().map_err(TrainError::write(path))
}

/// A name is on disk only when the folder that holds it is.
pub(super) fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    match cfg!(unix) {
        true => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(TrainError::write(folder)),
        false => Ok(()),
    }
}
