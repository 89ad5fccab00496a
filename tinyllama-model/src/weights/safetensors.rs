//! Safetensors, single or sharded: <https://github.com/huggingface/safetensors>.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kernels_cubecl::Format;
use safetensors::{Dtype, SafeTensors, View};

use super::tensors::{StoredTensor, Tensors, map_file};
use super::{IGNORED, WeightsError};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The tensors of all `files` of a folder, mapped.
pub(super) fn read(folder: &Path, files: &[PathBuf]) -> Result<Tensors, WeightsError> {
    let mut tensors = Tensors::new(folder);
    for path in files {
        let bytes = map_file(path)?;
        let file_path = Arc::from(&**path);
        let file = SafeTensors::deserialize(&bytes).map_err(|error| WeightsError::Damaged {
            path: path.clone(),
            detail: error.to_string(),
        })?;
        for (name, view) in file.tensors() {
            if IGNORED.iter().any(|ignored| name.ends_with(ignored)) {
                continue;
            }
            let format = match view.dtype() {
                Dtype::F32 => Format::F32,
                Dtype::F16 => Format::F16,
                Dtype::BF16 => Format::Bf16,
                other => {
                    let dtype = format!("{other:?}");
                    return Err(WeightsError::Dtype { path: path.clone(), name, dtype });
                }
            };
            let shape = view.shape().to_vec();
            let tensor = StoredTensor { shape, format, bytes: bytes.slice_ref(view.data()) };
            tensors.insert(&file_path, name, tensor)?;
        }
    }
    Ok(tensors)
}

/// The files named by an index, each once.
pub(super) fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = fs::read_to_string(index)
        .map_err(|source| WeightsError::Io { path: index.to_owned(), source })?;
    let damaged = |detail: String| WeightsError::Damaged { path: index.to_owned(), detail };
    let parsed: Index = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        return Err(damaged(format!("weight_map names `{name}`, which is no plain file name")));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Writes the tensors as `model.safetensors` in plain floats, one conversion at a time. `format` gives
/// the format of each.
pub(super) fn write(
    tensors: &Tensors,
    folder: &Path,
    format: impl Fn(&StoredTensor) -> Format,
) -> Result<(), WeightsError> {
    let path = folder.join(SINGLE);
    let views = tensors
        .by_name
        .iter()
        .map(|(name, tensor)| (name, Converted { tensor, format: format(tensor) }));
    // transformers refuses files that do not name their framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    // The library puts a file in its place that its owner alone can read; all others are read by whom the
    // system lets.
    let io = |source| WeightsError::Io { path: path.clone(), source };
    let permissions =
        File::create(&path).and_then(|file| file.metadata()).map_err(io)?.permissions();
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|error| io(std::io::Error::other(error)))?;
    fs::set_permissions(&path, permissions).map_err(io)
}

/// A tensor that is converted when it is written.
struct Converted<'a> {
    tensor: &'a StoredTensor,
    format: Format,
}

impl View for Converted<'_> {
    fn dtype(&self) -> Dtype {
        match self.format {
            Format::F32 => Dtype::F32,
            Format::F16 => Dtype::F16,
            Format::Bf16 => Dtype::BF16,
            other => panic!("{other} is no dtype of safetensors"),
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes: Bytes = self.tensor.to_format(self.format);
        Cow::Owned(bytes.into())
    }

    fn data_len(&self) -> usize {
        self.tensor.shape.iter().product::<usize>() * self.format.block_bytes()
    }
}
