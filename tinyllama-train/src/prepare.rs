//! From files to a data set folder: `prepare_data`.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tinyllama_model::Tokenizer;

use crate::bpe::{check_vocab_size, train_bpe};
use crate::data_error::DataError;
use crate::dataset::DatasetDescription;
use crate::documents::{BadRows, Sources};
use crate::packer::Packer;
use crate::sample::{EvenSample, SAMPLE_BYTES};
use crate::shards::Split;
use crate::staged_folder::StagedFolder;

/// What [`prepare_data`] does.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// Files and folders to read, in order.
    pub inputs: Vec<PathBuf>,
    /// Where held-out text comes from.
    pub validation: ValidationSource,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerSource,
    /// Key of a row's text instead of `text` or `content`.
    pub text_key: Option<String>,
    /// Documents after which the inputs (and the validation inputs) end.
    pub limit_documents: Option<u64>,
    /// Folder to make; it must not exist or be empty.
    pub out: PathBuf,
}

/// Where held-out text comes from.
#[derive(Clone, Debug)]
pub enum ValidationSource {
    /// This share of the input documents, evenly spaced.
    Fraction(f64),
    /// Other files and folders.
    Paths(Vec<PathBuf>),
}

/// Where the tokenizer comes from.
#[derive(Clone, Debug)]
pub enum TokenizerSource {
    /// A tokenizer.json, or a folder that has one and a tokenizer_config.json.
    Path(PathBuf),
    /// Trained on the training split.
    Train {
        /// Number of tokens.
        vocab_size: usize,
    },
}

/// What [`prepare_data`] has made.
#[derive(Clone, Debug)]
pub struct PreparedData {
    /// What is in the folder.
    pub description: DatasetDescription,
    /// Rows that could not be used.
    pub bad_rows: BadRows,
}

/// Reads, tokenizes and packs `options.inputs` into `options.out`, which appears when complete.
///
/// The same inputs and options give the same bytes. `progress` is restyled and driven;
/// `ProgressBar::hidden()` keeps quiet.
///
/// # Errors
/// An input cannot be read, every row is bad, an option is impossible, a split comes out empty, or
/// the output cannot be written.
pub fn prepare_data(
    options: &PrepareOptions,
    progress: &ProgressBar,
) -> Result<PreparedData, DataError> {
    if let ValidationSource::Fraction(value) = options.validation
        && !(value > 0.0 && value < 1.0)
    {
        return Err(DataError::ValidationFraction { value });
    }
    if let TokenizerSource::Train { vocab_size } = options.tokenizer {
        check_vocab_size(vocab_size)?;
    }
    let sources = Sources::find(&options.inputs)?;
    let validation_sources = match &options.validation {
        ValidationSource::Paths(paths) => Some(Sources::find(paths)?),
        ValidationSource::Fraction(_) => None,
    };
    let folder = StagedFolder::create(&options.out, false)?;
    let tokenizer = match &options.tokenizer {
        TokenizerSource::Path(path) => load_tokenizer(path)?,
        TokenizerSource::Train { vocab_size } => {
            let mut sample = EvenSample::new(SAMPLE_BYTES);
            start_pass(progress, "reading", sources.num_bytes());
            options.for_each_document(&sources, progress, |split, text| {
                if split == Split::Train {
                    sample.offer(&text);
                }
                Ok(())
            })?;
            train_tokenizer(&sample, *vocab_size, progress)?
        }
    };
    save_tokenizer(&tokenizer, folder.path())?;
    let mut packer = Packer::new(&tokenizer, folder.path())?;
    start_pass(progress, "encoding", sources.num_bytes());
    let mut bad_rows =
        options.for_each_document(&sources, progress, |split, text| packer.push(split, text))?;
    if let Some(sources) = &validation_sources {
        start_pass(progress, "encoding validation", sources.num_bytes());
        let all = |_: Split, text| packer.push(Split::Validation, text);
        let more = options.for_each_document(sources, progress, all)?;
        bad_rows.count += more.count;
        bad_rows.first.extend(more.first);
    }
    let (train, validation) = packer.finish()?;
    progress.finish_and_clear();
    let description = DatasetDescription {
        vocab_size: tokenizer.vocab_size(),
        tokenizer_fingerprint: tokenizer.fingerprint(),
        train,
        validation,
        registry: None,
    };
    description.write(folder.path())?;
    folder.commit()?;
    Ok(PreparedData { description, bad_rows })
}

impl PrepareOptions {
    /// Reads documents once, each with its split, and fails where not one row is good.
    fn for_each_document(
        &self,
        sources: &Sources,
        progress: &ProgressBar,
        mut each: impl FnMut(Split, String) -> Result<(), DataError>,
    ) -> Result<BadRows, DataError> {
        let mut documents = sources.documents(self.text_key.as_deref());
        let mut num_documents = 0;
        while num_documents < self.limit_documents.unwrap_or(u64::MAX)
            && let Some(text) = documents.next()
        {
            each(self.split_of(num_documents), text?)?;
            num_documents += 1;
            progress.set_position(documents.read_bytes());
        }
        let bad_rows = documents.bad_rows().clone();
        match bad_rows.first.first() {
            Some(first) if num_documents == 0 => {
                Err(DataError::EveryRowBad { num_rows: bad_rows.count, first: first.clone() })
            }
            _ => Ok(bad_rows),
        }
    }

    /// Validation documents are those at which `index * fraction`, rounded, takes a step: evenly
    /// spaced, and `fraction` of any prefix up to half a document.
    fn split_of(&self, index: u64) -> Split {
        match self.validation {
            ValidationSource::Fraction(fraction) => {
                let steps = |index: u64| (index as f64 * fraction).round();
                if steps(index + 1) > steps(index) { Split::Validation } else { Split::Train }
            }
            ValidationSource::Paths(_) => Split::Train,
        }
    }
}

/// Shows a new pass over `total_bytes` on the bar.
pub(crate) fn start_pass(progress: &ProgressBar, name: &'static str, total_bytes: u64) {
    let template = "{msg:20} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
    progress.set_length(total_bytes);
    progress.reset();
    progress.set_message(name);
    progress.set_style(ProgressStyle::with_template(template).expect("a constant template"));
}

/// Trains on `sample` with the bar saying so.
pub(crate) fn train_tokenizer(
    sample: &EvenSample,
    vocab_size: usize,
    progress: &ProgressBar,
) -> Result<Tokenizer, DataError> {
    progress.set_message("training tokenizer");
    progress.tick();
    train_bpe(sample.documents(), vocab_size).map(Tokenizer::from)
}

/// Puts the tokenizer, with the names of its beginning and end tokens, beside the token files.
pub(crate) fn save_tokenizer(tokenizer: &Tokenizer, folder: &Path) -> Result<(), DataError> {
    tokenizer.save(folder, None).map_err(|source| DataError::Tokenizer { source })
}

fn load_tokenizer(path: &Path) -> Result<Tokenizer, DataError> {
    let loaded =
        if path.is_dir() { Tokenizer::from_folder(path) } else { Tokenizer::from_file(path) };
    loaded.map_err(|source| DataError::Tokenizer { source })
}

#[cfg(test)]
mod tests;
