//! What can be wrong with weights.

use std::path::PathBuf;

use kernels_cubecl::Format;

use crate::error::ConfigError;

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The folder's `config.json` is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No weights are there.
    #[error(
        "{}: no model.safetensors, no pytorch_model.bin and no index of either; name a folder in \
         Hugging Face layout or a .gguf file",
        .folder.display()
    )]
    NoWeights {
        /// The folder searched.
        folder: PathBuf,
    },
    /// The file is not what its name says.
    #[error("{}: {detail}; the file is damaged or incomplete, fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        detail: String,
    },
    /// A tensor that the config asks for is absent.
    #[error("{}: tensor `{name}` is missing; the configuration is of another model than these weights", .origin.display())]
    Missing {
        /// The file or folder.
        origin: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the config says.
    #[error("{}: tensor `{name}` has shape {found:?}, the configuration needs {expected:?}", .origin.display())]
    Shape {
        /// The file or folder.
        origin: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
        /// What the configuration says.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// A tensor is stored in a dtype that is not read.
    #[error("{}: tensor `{name}` is stored as {dtype}; F32, F16 and BF16 are read", .path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
        /// The dtype found.
        dtype: String,
    },
    /// A tensor that this model has no place for.
    #[error("{}: tensor `{name}` has no place in a Llama without biases; these weights are of another architecture", .origin.display())]
    Unexpected {
        /// The file or folder.
        origin: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has elements that the format it is to be converted to cannot hold.
    #[error(
        "{}: tensor `{name}` has an element of magnitude {magnitude}, which {format} cannot hold; convert \
         to F32 or BF16",
        .origin.display()
    )]
    TooLarge {
        /// The file or folder.
        origin: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
        /// The largest magnitude in it.
        magnitude: f32,
        /// The format asked for.
        format: Format,
    },
    /// A tensor holds an infinite or undefined element.
    #[error("{}: tensor `{name}` holds an infinite or undefined element; the weights are damaged or the training diverged", .path.display())]
    NotFinite {
        /// The file, or what else the tensors come from.
        path: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
    },
}
