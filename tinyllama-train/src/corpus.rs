//! The corpus every Rust developer already has: the sources and Markdown of the packages in a
//! Cargo.lock, read from Cargo's local registry folder (`registry/src/*/NAME-VERSION` under Cargo's
//! home), so that pretraining needs no download.
//!
//! Packages come in the order of the lock file, files of a package in sorted path order. Only `*.rs`
//! and `*.md` below [`MAX_FILE_BYTES`] that are valid UTF-8 are read. About one package in
//! [`HELD_OUT_ONE_IN`] is held out for validation; the choice is a hash of the package's name, so all
//! versions of a package are in the same split.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::data_error::DataError;
use crate::disk::hexadecimal;
use crate::shards::Split;

/// Files of this size and more are left out: generated tables and operating-system bindings.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 10;

/// One package name in so many is held out for validation, on average.
pub(crate) const HELD_OUT_ONE_IN: u64 = 20;

/// The packages of a lock file that are unpacked on this machine, in lock order.
#[derive(Clone, Debug)]
pub struct RegistryCorpus {
    packages: Vec<Package>,
    num_lock_packages: usize,
    lock_sha256: String,
    max_bytes: Option<u64>,
}

/// One unpacked package.
#[derive(Clone, Debug)]
struct Package {
    folder: PathBuf,
    split: Split,
}

/// What reading the corpus from end to end found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CorpusSummary {
    /// SHA-256 over the text of every document in order, a zero byte after each, in hexadecimal.
    pub(crate) sha256: String,
    /// Files read.
    pub(crate) num_documents: u64,
    /// Bytes of text read.
    pub(crate) text_bytes: u64,
    /// Files left out because they reach [`MAX_FILE_BYTES`].
    pub(crate) num_large_files: u64,
    /// Files left out because they are not UTF-8.
    pub(crate) num_binary_files: u64,
}

/// One file of the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorpusDocument {
    /// The split its package belongs to.
    pub(crate) split: Split,
    /// The whole file.
    pub(crate) text: String,
}

impl RegistryCorpus {
    /// Finds the packages of `lock_path` in Cargo's registry folder; reads no source yet.
    ///
    /// `max_bytes` ends the corpus with the file that would exceed it, a prefix in lock order.
    ///
    /// # Errors
    /// The lock file is missing or malformed, Cargo's home is unknown, or it holds none of the
    /// packages.
    pub fn open(lock_path: &Path, max_bytes: Option<u64>) -> Result<Self, DataError> {
        Self::open_in(lock_path, &cargo_home()?.join("registry").join("src"), max_bytes)
    }

    /// As [`RegistryCorpus::open`], with the registry's `src` folder named by the caller.
    ///
    /// # Errors
    /// The lock file is missing or malformed, or the folder holds none of the packages.
    pub(crate) fn open_in(
        lock_path: &Path,
        registry: &Path,
        max_bytes: Option<u64>,
    ) -> Result<Self, DataError> {
        let lock = fs::read_to_string(lock_path).map_err(DataError::read(lock_path))?;
        let parsed: LockFile = toml::from_str(&lock).map_err(|error| DataError::Lock {
            path: lock_path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let empty = || DataError::RegistryEmpty {
            registry: registry.to_owned(),
            lock: lock_path.to_owned(),
        };
        if !registry.is_dir() {
            return Err(empty());
        }
        let registries = sorted_entries(registry)?;
        // Only registry packages have a source: members of the workspace itself are not text to
        // train on, because they change with every commit.
        let wanted: Vec<_> = parsed.package.iter().filter(|p| p.is_from_registry()).collect();
        let packages: Vec<_> = wanted
            .iter()
            .filter_map(|package| {
                let name = format!("{}-{}", package.name, package.version);
                let folder = registries.iter().map(|r| r.join(&name)).find(|path| path.is_dir())?;
                Some(Package { folder, split: split_of(&package.name) })
            })
            .collect();
        if packages.is_empty() {
            return Err(empty());
        }
        Ok(Self {
            packages,
            num_lock_packages: wanted.len(),
            lock_sha256: hexadecimal(&Sha256::digest(lock.as_bytes())),
            max_bytes,
        })
    }

    /// Packages of the lock file that are unpacked here; the others are for other platforms.
    pub(crate) fn num_packages(&self) -> usize {
        self.packages.len()
    }

    /// Registry packages the lock file names.
    pub(crate) fn num_lock_packages(&self) -> usize {
        self.num_lock_packages
    }

    /// SHA-256 of the lock file, in hexadecimal.
    pub(crate) fn lock_sha256(&self) -> &str {
        &self.lock_sha256
    }

    /// Bytes of text after which the corpus ends, if it is cut.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// Reads the corpus once, in order, one document in memory at a time.
    ///
    /// # Errors
    /// A file or folder cannot be read, or `each` returns an error.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(CorpusDocument) -> Result<(), DataError>,
    ) -> Result<CorpusSummary, DataError> {
        let mut summary = CorpusSummary::default();
        let mut hash = Sha256::new();
        'packages: for package in &self.packages {
            for path in source_files(&package.folder)? {
                let bytes = path.metadata().map_err(DataError::read(&path))?.len();
                if bytes >= MAX_FILE_BYTES {
                    summary.num_large_files += 1;
                    continue;
                }
                let Ok(text) = String::from_utf8(fs::read(&path).map_err(DataError::read(&path))?)
                else {
                    summary.num_binary_files += 1;
                    continue;
                };
                let text_bytes = summary.text_bytes + text.len() as u64;
                if self.max_bytes.is_some_and(|max| text_bytes > max) {
                    break 'packages;
                }
                hash.update(text.as_bytes());
                hash.update([0]);
                summary.num_documents += 1;
                summary.text_bytes = text_bytes;
                each(CorpusDocument { split: package.split, text })?;
            }
        }
        summary.sha256 = hexadecimal(&hash.finalize());
        Ok(summary)
    }
}

/// The part of Cargo.lock that names the packages.
#[derive(Deserialize)]
struct LockFile {
    #[serde(default)]
    package: Vec<LockPackage>,
}

#[derive(Deserialize)]
struct LockPackage {
    name: String,
    version: String,
    source: Option<String>,
}

impl LockPackage {
    fn is_from_registry(&self) -> bool {
        let source = self.source.as_deref().unwrap_or_default();
        source.starts_with("registry+") || source.starts_with("sparse+")
    }
}

/// Cargo's home by Cargo's own rule: `CARGO_HOME`, else `.cargo` in the home folder.
fn cargo_home() -> Result<PathBuf, DataError> {
    if let Some(home) = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    env::home_dir().map(|home| home.join(".cargo")).ok_or(DataError::CargoHome)
}

/// The split of a package, by its name alone.
fn split_of(name: &str) -> Split {
    let digest = Sha256::digest(name.as_bytes());
    let number = digest[..8].iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    if number.is_multiple_of(HELD_OUT_ONE_IN) { Split::Validation } else { Split::Train }
}

/// Every `*.rs` and `*.md` below `folder`, links not followed, in sorted path order.
fn source_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in sorted_entries(&folder)? {
            let kind = path.symlink_metadata().map_err(DataError::read(&path))?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "rs" || e == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The paths in a folder, sorted: the order in which a folder lists itself differs by machine.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).map_err(DataError::read(folder))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(DataError::read(folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry with two versions of `a`, one package missing, one from the workspace.
    fn registry() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let registry = dir.path().join("src");
        let lock = dir.path().join("Cargo.lock");
        let mut lock_text = String::from("version = 4\n");
        for (name, version, source) in [
            ("b", "1.0.0", true),
            ("a", "2.0.0", true),
            ("a", "1.0.0", true),
            ("absent", "1.0.0", true),
            ("own", "0.1.0", false),
        ] {
            lock_text += &format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
            if source {
                lock_text += "source = \"registry+index\"\n";
            }
        }
        fs::write(&lock, lock_text).unwrap();
        for (file, content) in [
            ("b-1.0.0/src/z.rs", b"z".to_vec()),
            ("b-1.0.0/src/a/deep.rs", b"deep".to_vec()),
            ("b-1.0.0/README.md", b"read".to_vec()),
            ("b-1.0.0/src/latin.rs", vec![0xff, 0xfe]),
            ("b-1.0.0/src/table.rs", vec![b'0'; MAX_FILE_BYTES as usize]),
            ("b-1.0.0/Cargo.toml", b"not text".to_vec()),
            ("a-2.0.0/lib.rs", b"two".to_vec()),
            ("a-1.0.0/lib.rs", b"one".to_vec()),
            ("own-0.1.0/lib.rs", b"own".to_vec()),
        ] {
            let path = registry.join("index").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        (dir, registry, lock)
    }

    fn texts(corpus: &RegistryCorpus) -> (Vec<String>, CorpusSummary) {
        let mut texts = Vec::new();
        let summary = corpus
            .for_each(|document| {
                texts.push(document.text);
                Ok(())
            })
            .unwrap();
        (texts, summary)
    }

    #[test]
    fn lock_order_then_path_order() {
        let (_dir, registry, lock) = registry();
        let corpus = RegistryCorpus::open_in(&lock, &registry, None).unwrap();
        assert_eq!((corpus.num_packages(), corpus.num_lock_packages()), (3, 4));
        let (texts, summary) = texts(&corpus);
        assert_eq!(texts, ["read", "deep", "z", "two", "one"]);
        assert_eq!((summary.num_documents, summary.text_bytes), (5, 15));
        assert_eq!((summary.num_large_files, summary.num_binary_files), (1, 1));
        let expected = hexadecimal(&Sha256::digest(b"read\0deep\0z\0two\0one\0"));
        assert_eq!(summary.sha256, expected);
    }

    #[test]
    fn max_bytes_takes_a_prefix() {
        let (_dir, registry, lock) = registry();
        let corpus = RegistryCorpus::open_in(&lock, &registry, Some(9)).unwrap();
        assert_eq!(texts(&corpus).0, ["read", "deep", "z"]);
    }

    #[test]
    fn versions_of_a_package_share_a_split() {
        let held_out = (0..4000).filter(|i| split_of(&format!("package-{i}")) == Split::Validation);
        // Binomial with mean 200 and standard deviation 13.8: five deviations either way.
        assert!((131..=269).contains(&held_out.count()));
        assert_eq!(split_of("serde"), split_of("serde"));
    }

    #[test]
    fn an_empty_registry_says_what_to_do() {
        let (dir, _registry, lock) = registry();
        let error = RegistryCorpus::open_in(&lock, &dir.path().join("none"), None).unwrap_err();
        assert!(error.to_string().contains("run `cargo fetch`"), "{error}");
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
