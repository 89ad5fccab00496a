//! Writes a GGUF file, version 3, that llama.cpp and every other reader of Llama models opens.

mod describe;
mod metadata_writer;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kernels_cubecl::Format;

pub use self::describe::Description;
pub(super) use self::metadata_writer::MetadataWriter;
use super::error::{GgufError, shown};
use super::tensor_info::{MAX_DIMENSIONS, type_code};
use super::{DEFAULT_ALIGNMENT, MAGIC, VERSION};
use crate::disk::{partial_beside, sync_folder};

/// llama.cpp takes names shorter than 64 bytes.
const MAX_NAME_BYTES: usize = 63;

/// A tensor to be written.
pub struct NewTensor<'a> {
    /// GGUF's name, as `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes in row-major order, `[rows, columns]` of a matrix.
    pub shape: Vec<usize>,
    /// How rows lie in bytes.
    pub format: Format,
    /// Makes the bytes of all rows when their turn to be written has come.
    pub bytes: Box<dyn FnOnce() -> Bytes + 'a>,
}

/// Writes metadata and tensors to `path`, which appears whole or not at all.
///
/// The bytes of one tensor at a time are asked for, written and dropped.
///
/// # Errors
/// The description is no valid model or one that GGUF cannot express, a tensor's name, shape or rows
/// break the rules of the format, or the file cannot be written.
///
/// # Panics
/// When a tensor makes another number of bytes than its shape and format have.
pub fn write(
    path: &Path,
    description: &Description<'_>,
    tensors: Vec<NewTensor<'_>>,
) -> Result<(), GgufError> {
    let io = |source| GgufError::Write { source };
    let write = || {
        let (header, lens) = header(description, &tensors)?;
        let mut file = Partial::create(path).map_err(io)?;
        file.write_aligned(&header).map_err(io)?;
        for (tensor, len) in tensors.into_iter().zip(lens) {
            let bytes = (tensor.bytes)();
            assert_eq!(bytes.len(), len, "bytes of tensor `{}`", tensor.name);
            file.write_aligned(&bytes).map_err(io)?;
        }
        file.finish(path).map_err(io)
    };
    write().map_err(|error: GgufError| error.in_file(path))
}

/// Everything in front of the data, and the bytes that each tensor needs.
fn header(
    description: &Description<'_>,
    tensors: &[NewTensor<'_>],
) -> Result<(Vec<u8>, Vec<usize>), GgufError> {
    let metadata = describe::metadata(description)?;
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(metadata.count().to_le_bytes());
    header.extend(metadata.into_bytes());
    let mut names = HashSet::new();
    let mut lens = Vec::new();
    let mut offset = 0u64;
    for tensor in tensors {
        let refuse = |detail| GgufError::Tensor { name: shown(&tensor.name), detail };
        let len = byte_len(tensor).map_err(refuse)?;
        if !names.insert(&tensor.name) {
            return Err(refuse("is there twice".to_owned()));
        }
        header.extend((tensor.name.len() as u64).to_le_bytes());
        header.extend(tensor.name.as_bytes());
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&size| header.extend((size as u64).to_le_bytes()));
        header.extend(type_code(tensor.format).to_le_bytes());
        header.extend(offset.to_le_bytes());
        lens.push(len);
        offset += (len as u64).next_multiple_of(DEFAULT_ALIGNMENT as u64);
    }
    Ok((header, lens))
}

/// The bytes of a tensor, or the rule that it breaks.
fn byte_len(tensor: &NewTensor<'_>) -> Result<usize, String> {
    let NewTensor { name, shape, format, .. } = tensor;
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Err(format!("has a name of {} bytes, not 1 to {MAX_NAME_BYTES}", name.len()));
    }
    let Some((&columns, rows)) = shape.split_last().filter(|_| shape.len() <= MAX_DIMENSIONS)
    else {
        return Err(format!("has {} dimensions, not 1 to {MAX_DIMENSIONS}", shape.len()));
    };
    if shape.contains(&0) {
        return Err(format!("has no elements: its shape is {shape:?}"));
    }
    if !columns.is_multiple_of(format.block_elements()) {
        let block = format.block_elements();
        return Err(format!(
            "has rows of {columns} elements, no whole number of {format}'s blocks of {block}; write \
             it in another format"
        ));
    }
    rows.iter()
        .fold(format.row_bytes(columns), |len, &size| len?.checked_mul(size))
        // So that the sum of two still fits.
        .filter(|&len| len <= isize::MAX as usize)
        .ok_or_else(|| format!("of shape {shape:?} is larger than memory"))
}

/// A file beside the wanted one, which takes its place when it is complete and else is deleted.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(wanted: &Path) -> io::Result<Self> {
        let path = partial_beside(wanted)?;
        let file = File::create(&path)?;
        Ok(Self { path, file })
    }

    /// Writes `bytes` and zeros up to the next multiple of the alignment.
    fn write_aligned(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(DEFAULT_ALIGNMENT) - bytes.len();
        self.file.write_all(&[0; DEFAULT_ALIGNMENT][..padding])
    }

    fn finish(self, wanted: &Path) -> io::Result<()> {
        // Bytes are on disk before the name that makes them count.
        self.file.sync_all()?;
        fs::rename(&self.path, wanted)?;
        sync_folder(std::path::absolute(wanted)?.parent().unwrap_or(wanted))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing to delete, and after a failure no better place to say more.
        fs::remove_file(&self.path).ok();
    }
}
