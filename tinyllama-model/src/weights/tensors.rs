//! The tensors of a model as they lie in their files, under Hugging Face's names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kernels_cubecl::Format;
use rayon::prelude::*;

use super::WeightsError;
use crate::mapped;

/// One tensor: its elements row after row, in the bytes of a file.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    /// Sizes, the innermost dimension last.
    pub shape: Vec<usize>,
    /// The layout of the rows.
    pub format: Format,
    /// All rows; mostly a slice of a mapped file.
    pub bytes: Bytes,
}

impl StoredTensor {
    /// Elements of a row: the innermost dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Bytes that the shape asks for; `None` where rows are no whole blocks or nothing is so large.
    pub fn expected_bytes(&self) -> Option<usize> {
        let rows = self.shape.iter().rev().skip(1).try_fold(1usize, |n, &d| n.checked_mul(d))?;
        self.format.row_bytes(self.columns())?.checked_mul(rows)
    }

    /// All elements.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        if values.is_empty() {
            return values;
        }
        let columns = self.columns();
        let row_bytes = self.format.row_bytes(columns).expect("whole rows, checked when read");
        (values.par_chunks_mut(columns).zip(self.bytes.par_chunks(row_bytes)))
            .for_each(|(values, row)| self.format.dequantize(row, values));
        values
    }

    /// The bytes in another format: these where it is the same, else by way of f32.
    pub fn to_format(&self, format: Format) -> Bytes {
        match format == self.format {
            true => self.bytes.clone(),
            false => format.quantize(&self.to_f32()).into(),
        }
    }
}

/// All tensors of a model.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// The file or folder they come from, for messages.
    pub origin: PathBuf,
    /// By Hugging Face's name, as `model.layers.0.mlp.up_proj.weight`.
    pub by_name: BTreeMap<String, StoredTensor>,
    /// The file of each tensor, where it is not `origin`; for messages.
    files: BTreeMap<String, Arc<Path>>,
}

impl Tensors {
    /// None yet.
    pub(crate) fn new(origin: &Path) -> Self {
        Self { origin: origin.to_owned(), by_name: BTreeMap::new(), files: BTreeMap::new() }
    }

    /// The file that holds a tensor, or else what all of them come from.
    pub fn file_of(&self, name: &str) -> &Path {
        self.files.get(name).map_or(&self.origin, |file| file)
    }

    /// Adds a tensor of `path`, whose byte count is checked against its shape.
    pub(crate) fn insert(
        &mut self,
        path: &Arc<Path>,
        name: String,
        tensor: StoredTensor,
    ) -> Result<(), WeightsError> {
        let damaged = |detail| Err(WeightsError::Damaged { path: path.to_path_buf(), detail });
        let StoredTensor { shape, format, bytes } = &tensor;
        if tensor.expected_bytes() != Some(bytes.len()) {
            let found = bytes.len();
            return damaged(format!("`{name}` {shape:?} in {format} cannot have {found} bytes"));
        }
        if **path != *self.origin {
            self.files.insert(name.clone(), path.clone());
        }
        match self.by_name.insert(name.clone(), tensor) {
            Some(_) => damaged(format!("holds a second `{name}`")),
            None => Ok(()),
        }
    }
}

/// As [`mapped::map_file`], with an error that names the file.
pub(crate) fn map_file(path: &Path) -> Result<Bytes, WeightsError> {
    mapped::map_file(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })
}
