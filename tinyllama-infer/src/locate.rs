//! From the name of a model to its folder or file.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::InferError;
use crate::hub;

/// The model called `name`, for [`LoadedModel::load`](crate::LoadedModel::load):
///
/// - a run folder of the trainer: the checkpoint that its `latest` names, under `checkpoints/`;
/// - a checkpoint folder, or any other folder in Hugging Face layout: itself;
/// - a file `*.gguf`, or `*.bin` of llama2.c: itself;
/// - a hub id `owner/name`: a snapshot in Hugging Face's cache, downloaded once.
///
/// A name such as `out/demo` could be both a path and a hub id. It is a path if the folder, or the
/// folder around it, exists.
///
/// # Errors
/// The folder does not exist or holds no model, or the hub does not deliver.
pub fn locate(name: &str) -> Result<PathBuf, InferError> {
    let path = Path::new(name);
    if path.is_dir() {
        return model_folder(path);
    }
    if path.exists() {
        let extension = path.extension().unwrap_or_default();
        let is_model = ["gguf", "bin"].iter().any(|kind| extension.eq_ignore_ascii_case(kind));
        return match is_model {
            true => Ok(path.to_owned()),
            false => Err(InferError::NotAModelFile { path: path.to_owned() }),
        };
    }
    let parent_exists = path.parent().is_some_and(Path::is_dir) && path.components().count() > 1;
    if is_hub_id(name) && !parent_exists {
        return hub::snapshot(name);
    }
    match path.components().count() > 1 {
        true => Err(InferError::NoSuchFolder { path: path.to_owned() }),
        false => Err(InferError::NotAName { name: name.to_owned() }),
    }
}

/// The model in an existing folder: its own, or that of its newest checkpoint.
fn model_folder(folder: &Path) -> Result<PathBuf, InferError> {
    let latest = folder.join("latest");
    if latest.is_file() {
        let text = fs::read_to_string(&latest)
            .map_err(|source| InferError::Read { path: latest.clone(), source })?;
        let name = text.trim();
        let checkpoint = folder.join("checkpoints").join(name);
        // The file must not lead out of the run folder.
        return match is_plain(name) && checkpoint.join("config.json").is_file() {
            true => Ok(checkpoint),
            false => {
                Err(InferError::NoCheckpoint { path: latest, name: name.to_owned(), checkpoint })
            }
        };
    }
    match folder.join("config.json").is_file() {
        true => Ok(folder.to_owned()),
        false => Err(InferError::NotAModel { folder: folder.to_owned() }),
    }
}

/// Whether `name` is one ordinary component of a path.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
}

/// Whether `name` reads `owner/name` in the characters that the hub allows.
fn is_hub_id(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[track_caller]
    fn error(path: &Path) -> String {
        locate(path.to_str().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_run_folder_leads_to_its_newest_checkpoint() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = run.path().join("checkpoints");
        for step in ["step-00000010", "step-00000020"] {
            put(checkpoints.join(step).join("config.json"), "{}");
        }
        put(run.path().join("latest"), "step-00000010\n");
        let found = locate(run.path().to_str().unwrap()).unwrap();
        assert_eq!(found, checkpoints.join("step-00000010"));
        let itself = checkpoints.join("step-00000020");
        assert_eq!(locate(itself.to_str().unwrap()).unwrap(), itself);
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(error(folder.path()).contains("no config.json"));
        assert!(error(&folder.path().join("model")).contains("no such folder"));
        put(folder.path().join("file"), "");
        assert!(error(&folder.path().join("file")).contains("not a .gguf file"));
        let gguf = folder.path().join("model.gguf");
        put(gguf.clone(), "");
        assert_eq!(locate(gguf.to_str().unwrap()).unwrap(), gguf);
        for name in ["step-9", "..", "", "/", "a/b"] {
            put(folder.path().join("latest"), name);
            assert!(error(folder.path()).contains(&format!("`{name}`")));
        }
        assert!(error(Path::new("TinyLlama")).contains("hub id"));
        // The folder `src` exists beside the manifest, where tests run: this is a path, not an id.
        assert!(error(Path::new("src/demo")).contains("no such folder"));
    }

    #[test]
    fn hub_ids_are_told_from_paths() {
        assert!(is_hub_id("TinyLlama/TinyLlama-1.1B-Chat-v1.0"));
        for path in ["./model", "../model", "/model", "a/b/c", "a", "a/", "~/model", "a/b c"] {
            assert!(!is_hub_id(path), "{path}");
        }
    }
}
