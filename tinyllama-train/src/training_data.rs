//! A data set folder as a run needs it: both splits and the tokenizer they were made with.

use std::path::Path;
use std::sync::Arc;

use tinyllama_model::Tokenizer;

use crate::data_error::DataError;
use crate::dataset::DatasetDescription;
use crate::shards::{Split, TokenShards};
use crate::train_error::TrainError;

/// An opened data set.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// What is trained on.
    pub train: Arc<TokenShards>,
    /// What is evaluated on.
    pub validation: Arc<TokenShards>,
    /// Their tokenizer.
    pub tokenizer: Tokenizer,
}

impl TrainingData {
    /// Opens the folder that `prepare_data` or [`prepare_registry_corpus`] made.
    ///
    /// [`prepare_registry_corpus`]: crate::prepare_registry_corpus
    ///
    /// # Errors
    /// The description, a split or the tokenizer is missing or damaged, or they do not belong together.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let missing = || DataError::NoDescription { path: folder.to_owned() };
        let description = DatasetDescription::read(folder)?.ok_or_else(missing)?;
        let open = |split| {
            let shards = TokenShards::open(folder, split)?;
            let (found, expected) = (shards.size(), description.size_of(split));
            match found == expected {
                true => Ok(shards),
                false => Err(DataError::SplitSize {
                    path: folder.to_owned(),
                    split: split.name(),
                    found: found.num_tokens,
                    expected: expected.num_tokens,
                }),
            }
        };
        let (train, validation) = (open(Split::Train)?, open(Split::Validation)?);
        let tokenizer = Tokenizer::from_folder(folder)?;
        let (fingerprint, vocab_size) = (tokenizer.fingerprint(), tokenizer.vocab_size());
        for shards in [&train, &validation] {
            let format = shards.format();
            if format.fingerprint != fingerprint || format.vocab_size as usize != vocab_size {
                return Err(TrainError::Mixed {
                    folder: folder.to_owned(),
                    split: shards.split().name(),
                });
            }
        }
        Ok(Self { train: train.into(), validation: validation.into(), tokenizer })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{PrepareOptions, TokenizerSource, ValidationSource, prepare_data};

    /// What the header says of the vocabulary sizes the tables of the baselines.
    #[test]
    fn token_files_and_tokenizer_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.jsonl");
        fs::write(&text, "{\"text\": \"a row of text\"}\n".repeat(20)).unwrap();
        let out = dir.path().join("data");
        let options = PrepareOptions {
            inputs: vec![text],
            validation: ValidationSource::Fraction(0.5),
            tokenizer: TokenizerSource::Train { vocab_size: 260 },
            text_key: None,
            limit_documents: None,
            out: out.clone(),
        };
        prepare_data(&options, &indicatif::ProgressBar::hidden()).unwrap();
        TrainingData::open(&out).unwrap();

        let shard = out.join("validation_00000.bin");
        let whole = fs::read(&shard).unwrap();
        // The vocabulary size, and the first character of the fingerprint.
        for (at, value) in [(41, 0x7f), (64, b'x')] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            fs::write(&shard, bytes).unwrap();
            let error = TrainingData::open(&out).unwrap_err();
            assert!(matches!(error, TrainError::Mixed { split: "validation", .. }), "{error}");
        }
        fs::write(&shard, whole).unwrap();

        // Half of a data set is none: a file less, and the description last of all.
        let first = out.join("train_00000.bin");
        let tokens = fs::read(&first).unwrap();
        fs::write(out.join("train_00001.bin"), &tokens).unwrap();
        let error = TrainingData::open(&out).unwrap_err().to_string();
        assert!(error.contains("train files") && error.contains("dataset.json says"), "{error}");
        fs::remove_file(out.join("train_00001.bin")).unwrap();
        fs::remove_file(out.join("dataset.json")).unwrap();
        let error = TrainingData::open(&out).unwrap_err().to_string();
        assert!(error.contains("no dataset.json"), "{error}");
    }
}
