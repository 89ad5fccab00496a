//! `DONE`: the marker that completes a checkpoint, with the checksum of every file in it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tinyllama_model::disk::{sync, sync_folder};

use crate::disk::sha256;
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
        sync(&path).map_err(TrainError::write(&path))?;
        let sum = sha256(&path).map_err(TrainError::read(&path))?;
        lines += &format!("{sum}  {}\n", name.to_string_lossy());
    }
    let done = folder.join(DONE_FILE);
    fs::write(&done, lines).and_then(|()| sync(&done)).map_err(TrainError::write(&done))?;
    sync_folder(folder).map_err(TrainError::write(folder))
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
        let detail = match sha256(&path) {
            Ok(found) if found == sum => continue,
            Ok(_) => "its sha256 is not the one in DONE, the file is damaged",
            Err(error) if error.kind() == ErrorKind::NotFound => "is listed in DONE, but missing",
            Err(error) => return Err(TrainError::read(&path)(error)),
        };
        return Err(TrainError::Damaged { path, detail: detail.to_owned() });
    }
    Ok(())
}
