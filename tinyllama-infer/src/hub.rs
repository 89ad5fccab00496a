//! Models of the Hugging Face hub, downloaded once into its standard cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo};
use serde_json::Value;

use crate::error::InferError;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Read where a model has them.
const OPTIONAL: [&str; 4] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// The cached snapshot of the model `id` (`owner/name`), without network once it is complete; else
/// downloads it with a progress bar per file and goes on where an interrupted download stopped.
///
/// `HF_HOME` moves the cache and `HF_ENDPOINT` names a mirror.
///
/// # Errors
/// No network, no such model, no access, or a model without safetensors or `tokenizer.json`.
pub(crate) fn snapshot(id: &str) -> Result<PathBuf, InferError> {
    let has_home = std::env::home_dir().is_some_and(|home| !home.as_os_str().is_empty());
    if std::env::var_os("HF_HOME").is_none() && !has_home {
        return Err(InferError::NoCache { id: id.to_owned() });
    }
    let cache = Cache::from_env();
    let repo = Repo::model(id.to_owned());
    let place = cache.path().join(repo.folder_name());
    let cached = cache.repo(repo.clone());
    if let Some(folder) = complete(&cached) {
        return Ok(folder);
    }
    let failed = |cause: String| InferError::Hub {
        id: id.to_owned(),
        cause: cause.trim_end_matches('.').to_owned(),
        cache: place.clone(),
    };
    let request = |error: ApiError| failed(error.to_string());
    let api = ApiBuilder::from_env().with_progress(true).build().map_err(request)?;
    let remote = api.repo(repo);
    let info = remote.info().map_err(request)?;
    let names: BTreeSet<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    if let Some(file) = missing(&names) {
        return Err(InferError::HubFile { id: id.to_owned(), file });
    }
    download(&remote, &names).map_err(request)?;
    // A model that was changed meanwhile is spread over two snapshots.
    complete(&cached).ok_or_else(|| failed("it changed during the download, try again".to_owned()))
}

/// The first file that loading needs and `names` lacks.
fn missing(names: &BTreeSet<String>) -> Option<&'static str> {
    let has = |name: &str| names.contains(name);
    let file = NEEDED.into_iter().find(|name| !has(name));
    file.or((!has(SINGLE) && !has(INDEX)).then_some(SINGLE))
}

/// Fetches what is not cached yet. The weights come last, so that a snapshot with all its weights
/// has everything else.
fn download(remote: &ApiRepo, names: &BTreeSet<String>) -> Result<(), ApiError> {
    for file in NEEDED.into_iter().chain(OPTIONAL).filter(|file| names.contains(*file)) {
        remote.get(file)?;
    }
    if names.contains(SINGLE) {
        remote.get(SINGLE)?;
        return Ok(());
    }
    let index = remote.get(INDEX)?;
    for shard in shards(&index).unwrap_or_default() {
        remote.get(&shard)?;
    }
    Ok(())
}

/// The snapshot folder, if all that loading needs is cached.
fn complete(cached: &CacheRepo) -> Option<PathBuf> {
    let config = cached.get("config.json")?;
    cached.get("tokenizer.json")?;
    if cached.get(SINGLE).is_none() {
        let shards = shards(&cached.get(INDEX)?)?;
        shards.iter().all(|shard| cached.get(shard).is_some()).then_some(())?;
    }
    config.parent().map(Path::to_owned)
}

/// The plain file names in the weight map of an index; `None` if it has another form, which loading
/// reports in detail.
fn shards(index: &Path) -> Option<BTreeSet<String>> {
    let index: Value = serde_json::from_slice(&fs::read(index).ok()?).ok()?;
    let files = index.get("weight_map")?.as_object()?.values();
    let files = files.map(|file| file.as_str().map(str::to_owned));
    files.collect::<Option<BTreeSet<_>>>().filter(|files| {
        files.iter().all(|file| Path::new(file).file_name().is_some_and(|name| name == &**file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache folder as Hugging Face's tools leave it, with these files in one snapshot.
    fn cache_with(files: &[(&str, &str)]) -> (tempfile::TempDir, CacheRepo) {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("models--owner--name");
        let snapshot = model.join("snapshots/0a1b2c");
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(model.join("refs/main"), "0a1b2c").unwrap();
        for (name, text) in files {
            fs::write(snapshot.join(name), text).unwrap();
        }
        let repo = Cache::new(home.path().to_owned()).repo(Repo::model("owner/name".to_owned()));
        (home, repo)
    }

    #[test]
    fn a_complete_snapshot_needs_no_network() {
        let single = [("config.json", ""), ("tokenizer.json", ""), (SINGLE, "")];
        let (home, cached) = cache_with(&single);
        let folder = home.path().join("models--owner--name/snapshots/0a1b2c");
        assert_eq!(complete(&cached), Some(folder));
        for missing in 0..single.len() {
            let mut files = single.to_vec();
            files.remove(missing);
            assert_eq!(complete(&cache_with(&files).1), None);
        }
    }

    #[test]
    fn a_sharded_snapshot_is_complete_with_its_last_shard() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        let mut files = vec![("config.json", ""), ("tokenizer.json", ""), (INDEX, index)];
        files.push(("1.safetensors", ""));
        assert_eq!(complete(&cache_with(&files).1), None);
        files.push(("2.safetensors", ""));
        assert!(complete(&cache_with(&files).1).is_some());
    }

    #[test]
    fn an_index_cannot_name_files_elsewhere() {
        let index = r#"{"weight_map": {"a": "../1.safetensors"}}"#;
        let files = [("config.json", ""), ("tokenizer.json", ""), (INDEX, index)];
        assert_eq!(complete(&cache_with(&files).1), None);
    }

    #[test]
    fn what_a_model_lacks_is_named() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(missing(&names(&["config.json", SINGLE])), Some("tokenizer.json"));
        assert_eq!(missing(&names(&["config.json", "tokenizer.json"])), Some(SINGLE));
        assert_eq!(missing(&names(&["config.json", "tokenizer.json", INDEX])), None);
    }
}
