//! What can be wrong with a GGUF file, or with what shall become one.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;

/// A GGUF file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file cannot be read.
    #[error("cannot read the GGUF file: {source}")]
    Read {
        /// Why reading failed.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the GGUF file: {source}")]
    Write {
        /// Why writing failed.
        source: std::io::Error,
    },
    /// The first bytes are not those of a GGUF file.
    #[error("not a GGUF file: it begins with \"{found}\", not with \"GGUF\"")]
    NotGguf {
        /// The first bytes, escaped.
        found: String,
    },
    /// A version or byte order that is not read.
    #[error("{found} is not read: {remedy}")]
    Version {
        /// The version, in words.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The bytes break the rules of the format.
    #[error("{place}: {detail}; the file is damaged or incomplete, fetch it again")]
    Damaged {
        /// The key, the tensor or the part of the file.
        place: String,
        /// The rule that is broken.
        detail: String,
    },
    /// A key that is needed is absent.
    #[error("`{key}` is missing; this file does not describe a complete Llama")]
    Missing {
        /// The key.
        key: String,
    },
    /// The value of a key has another type.
    #[error("`{key}` is {found}, but must be {expected}")]
    Type {
        /// The key.
        key: String,
        /// The type found, in words.
        found: String,
        /// The type needed, in words.
        expected: &'static str,
    },
    /// The value of a key lies outside of what it can be.
    #[error("`{key}` is {value}, but must be {requirement}")]
    Invalid {
        /// The key, or the tensor.
        key: String,
        /// The value found.
        value: String,
        /// The condition that does not hold.
        requirement: String,
    },
    /// The file asks for something that is not computed here.
    #[error("`{key}` is {value}, which is not supported: {remedy}")]
    Unsupported {
        /// The key, or the tensor.
        key: String,
        /// The value found.
        value: String,
        /// What is supported instead.
        remedy: String,
    },
    /// The sizes, all there and of the right type, do not fit each other.
    #[error("the metadata describe no usable model: {0}")]
    Config(#[from] ConfigError),
    /// A tensor that cannot be written.
    #[error("tensor `{name}` {detail}")]
    Tensor {
        /// Its name.
        name: String,
        /// The rule that it breaks.
        detail: String,
    },
    /// An error of the list above, in a named file.
    #[error("{}: {source}", .path.display())]
    InFile {
        /// The file that holds the mistake.
        path: PathBuf,
        /// The mistake.
        source: Box<GgufError>,
    },
}

impl GgufError {
    /// The same error with its file, once.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::InFile { .. } => self,
            source => Self::InFile { path: path.to_owned(), source: Box::new(source) },
        }
    }

    pub(super) fn invalid(key: &str, value: impl ToString, requirement: impl Into<String>) -> Self {
        let (key, value) = (key.to_owned(), value.to_string());
        Self::Invalid { key, value, requirement: requirement.into() }
    }

    pub(super) fn unsupported(key: &str, value: impl ToString, remedy: impl Into<String>) -> Self {
        let (key, value) = (key.to_owned(), value.to_string());
        Self::Unsupported { key, value, remedy: remedy.into() }
    }
}

/// What is wrong with a run of bytes, before anyone knows whose they are.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error("{needed} more bytes are needed, but only {left} are left")]
    Short { needed: u64, left: usize },
    #[error("the text is not UTF-8")]
    Utf8,
    #[error("a bool is {0}, neither 0 nor 1")]
    Bool(u8),
    #[error("there is no value type {0}; the largest is 12")]
    ValueType(u32),
    #[error("arrays are nested more than {0} deep")]
    Depth(usize),
}

impl Flaw {
    pub(super) fn at(self, place: impl Into<String>) -> GgufError {
        GgufError::Damaged { place: place.into(), detail: self.to_string() }
    }
}

/// `text` as a message shows it: escaped, and cut where it is long, since files may hold anything.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
