//! `pytorch_model.bin`, single or sharded, through burn-store's reader, which runs no pickled code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_store::pytorch_reader::{DType, PytorchReader};
use kernels_cubecl::Format;

use super::tensors::{StoredTensor, Tensors};
use super::{IGNORED, WeightsError};

pub(super) const SINGLE: &str = "pytorch_model.bin";
pub(super) const INDEX: &str = "pytorch_model.bin.index.json";

/// The tensors of all `files` of a folder, read into memory.
pub(super) fn read(folder: &Path, files: &[PathBuf]) -> Result<Tensors, WeightsError> {
    let mut tensors = Tensors::new(folder);
    for path in files {
        let file_path = Arc::from(&**path);
        let damaged = |detail: String| WeightsError::Damaged { path: path.clone(), detail };
        let reader = PytorchReader::new(path).map_err(|error| damaged(error.to_string()))?;
        for (name, tensor) in reader.into_tensors() {
            if IGNORED.iter().any(|ignored| name.ends_with(ignored)) {
                continue;
            }
            let format = match tensor.dtype() {
                DType::F32 => Format::F32,
                DType::F16 => Format::F16,
                DType::BF16 => Format::Bf16,
                other => {
                    let dtype = format!("{other:?}");
                    return Err(WeightsError::Dtype { path: path.clone(), name, dtype });
                }
            };
            let shape = tensor.shape().to_vec();
            let bytes = tensor.read().map_err(|error| damaged(format!("`{name}`: {error}")))?;
            tensors.insert(
                &file_path,
                name,
                StoredTensor { shape, format, bytes: bytes.into() },
            )?;
        }
    }
    Ok(tensors)
}
