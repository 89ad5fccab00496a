//! A data set folder as a run needs it: both splits and the tokenizer they were made with.

use std::path::Path;
use std::sync::Arc;

use tinyllama_model::Tokenizer;

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
    /// A split or the tokenizer is missing or damaged, or they do not belong together.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let train = TokenShards::open(folder, Split::Train)?;
        let validation = TokenShards::open(folder, Split::Validation)?;
        let tokenizer = Tokenizer::from_folder(folder)?;
        let fingerprint = tokenizer.fingerprint();
        for shards in [&train, &validation] {
            if shards.format().fingerprint != fingerprint {
                return Err(TrainError::Mixed {
                    folder: folder.to_owned(),
                    split: shards.split().name(),
                });
            }
        }
        Ok(Self { train: train.into(), validation: validation.into(), tokenizer })
    }
}
