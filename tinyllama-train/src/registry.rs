//! The zero-argument data set: the registry corpus, tokenized and packed, made once.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use crate::bpe::check_vocab_size;
use crate::corpus::RegistryCorpus;
use crate::data_error::DataError;
use crate::dataset::{DatasetDescription, RegistryDescription, RegistryKey};
use crate::packer::Packer;
use crate::prepare::{save_tokenizer, start_pass, train_tokenizer};
use crate::sample::{EvenSample, SAMPLE_BYTES};
use crate::shards::{Split, SplitSize};
use crate::staged_folder::StagedFolder;
use crate::training_data::TrainingData;

/// Raised whenever the same packages would give other text, splits or tokens than before.
const RULES_VERSION: u32 = 1;

/// A registry data set that is ready to be trained on.
#[derive(Clone, Debug)]
pub struct PreparedCorpus {
    /// Folder of the token files.
    pub folder: PathBuf,
    /// Where the text came from.
    pub registry: RegistryDescription,
    /// Number of tokens the tokenizer knows.
    pub vocab_size: usize,
    /// Size of the training split.
    pub train: SplitSize,
    /// Size of the held-out split.
    pub validation: SplitSize,
    /// Whether the folder was there already.
    pub is_reused: bool,
}

/// Makes `out_folder` the data set of `corpus` with a tokenizer of `vocab_size` trained on it.
///
/// A folder that holds the same corpus already is used as it is; another registry data set there, or a
/// damaged one, is replaced once the new one is complete. The same packages give the same bytes. `progress` is restyled and driven;
/// `ProgressBar::hidden()` keeps quiet.
///
/// # Errors
/// A package cannot be read, the vocabulary size is impossible, no package is held out, or the folder
/// cannot be written or holds something else.
pub fn prepare_registry_corpus(
    corpus: &RegistryCorpus,
    out_folder: &Path,
    vocab_size: usize,
    progress: &ProgressBar,
) -> Result<PreparedCorpus, DataError> {
    check_vocab_size(vocab_size)?;
    let key = RegistryKey {
        rules_version: RULES_VERSION,
        lock_sha256: corpus.lock_sha256().to_owned(),
        num_packages: corpus.num_packages(),
        max_bytes: corpus.max_bytes(),
        requested_vocab_size: vocab_size,
    };
    // A description that cannot be read is that of a data set to be made again.
    let found = DatasetDescription::read(out_folder).ok().flatten();
    if let Some(description) = &found
        && let Some(registry) = &description.registry
        && registry.key == key
        && TrainingData::open(out_folder).is_ok()
    {
        return Ok(prepared(out_folder, registry.clone(), description, true));
    }
    let is_of_files = found.is_some_and(|description| description.registry.is_none());
    let staged = StagedFolder::create(out_folder, !is_of_files)?;
    start_pass(progress, "reading packages", 0);
    let mut sample = EvenSample::new(SAMPLE_BYTES);
    let summary = corpus.for_each(|document| {
        if document.split == Split::Train {
            sample.offer(&document.text);
        }
        Ok(())
    })?;
    let tokenizer = train_tokenizer(&sample, vocab_size, progress)?;
    save_tokenizer(&tokenizer, staged.path())?;
    let mut packer = Packer::new(&tokenizer, staged.path())?;
    start_pass(progress, "encoding", summary.text_bytes);
    corpus.for_each(|document| {
        progress.inc(document.text.len() as u64);
        packer.push(document.split, document.text)
    })?;
    let (train, validation) = packer.finish()?;
    progress.finish_and_clear();
    let registry = RegistryDescription {
        key,
        num_lock_packages: corpus.num_lock_packages(),
        sha256: summary.sha256,
        num_large_files: summary.num_large_files,
        num_binary_files: summary.num_binary_files,
    };
    let description = DatasetDescription {
        vocab_size: tokenizer.vocab_size(),
        tokenizer_fingerprint: tokenizer.fingerprint(),
        train,
        validation,
        registry: Some(registry.clone()),
    };
    description.write(staged.path())?;
    staged.commit()?;
    Ok(prepared(out_folder, registry, &description, false))
}

fn prepared(
    folder: &Path,
    registry: RegistryDescription,
    description: &DatasetDescription,
    is_reused: bool,
) -> PreparedCorpus {
    PreparedCorpus {
        folder: folder.to_owned(),
        registry,
        vocab_size: description.vocab_size,
        train: description.train,
        validation: description.validation,
        is_reused,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::DESCRIPTION_FILE;

    /// Forty small packages, of which a few are held out by their names.
    fn corpus(max_bytes: Option<u64>) -> (tempfile::TempDir, RegistryCorpus) {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = String::from("version = 4\n");
        for i in 0..40 {
            lock += &format!(
                "[[package]]\nname = \"p{i}\"\nversion = \"1.0.0\"\nsource = \"registry+index\"\n"
            );
            let folder = dir.path().join("src/index").join(format!("p{i}-1.0.0"));
            fs::create_dir_all(&folder).unwrap();
            let source = format!("/// Adds {i}.\npub fn add_{i}(x: u32) -> u32 {{ x + {i} }}\n");
            fs::write(folder.join("lib.rs"), source.repeat(5)).unwrap();
        }
        let lock_path = dir.path().join("Cargo.lock");
        fs::write(&lock_path, lock).unwrap();
        let registry = dir.path().join("src");
        let corpus = RegistryCorpus::open_in(&lock_path, &registry, max_bytes).unwrap();
        (dir, corpus)
    }

    fn prepare(corpus: &RegistryCorpus, out: &Path, vocab_size: usize) -> PreparedCorpus {
        prepare_registry_corpus(corpus, out, vocab_size, &ProgressBar::hidden()).unwrap()
    }

    fn bytes_of(folder: &Path) -> Vec<Vec<u8>> {
        let files = crate::corpus::sorted_entries(folder).unwrap();
        assert_eq!(files.len(), 5, "description, two tokenizer files and a file per split");
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn the_same_packages_give_the_same_bytes() {
        let (dir, corpus) = corpus(None);
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let first = prepare(&corpus, &a, 300);
        prepare(&corpus, &b, 300);
        assert_eq!(bytes_of(&a), bytes_of(&b));
        let bytes = first.train.text_bytes + first.validation.text_bytes;
        assert_eq!(bytes, corpus.for_each(|_| Ok(())).unwrap().text_bytes);
        assert_eq!(first.train.num_documents + first.validation.num_documents, 40);
        assert_eq!(first.vocab_size, 300);
    }

    #[test]
    fn a_finished_folder_is_reused_and_another_replaced() {
        let (dir, corpus) = corpus(None);
        let out = dir.path().join("out");
        assert!(!prepare(&corpus, &out, 300).is_reused);
        let before = bytes_of(&out);
        assert!(prepare(&corpus, &out, 300).is_reused);
        assert!(!prepare(&corpus, &out, 310).is_reused);
        assert_ne!(bytes_of(&out), before);
        assert!(!prepare(&corpus, &out, 300).is_reused);
        // A file that was cut off is noticed.
        let shard = out.join("train_00000.bin");
        let length = shard.metadata().unwrap().len();
        fs::File::options().write(true).open(&shard).unwrap().set_len(length - 1).unwrap();
        assert!(!prepare(&corpus, &out, 300).is_reused);
        assert_eq!(bytes_of(&out), before);
    }

    #[test]
    fn a_folder_of_another_kind_is_left_alone() {
        let (dir, corpus) = corpus(None);
        let error = prepare_registry_corpus(&corpus, dir.path(), 300, &ProgressBar::hidden());
        assert!(matches!(error, Err(DataError::OutputExists { .. })));
        assert!(!dir.path().join(DESCRIPTION_FILE).exists());
    }
}
