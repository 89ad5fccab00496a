//! Documents to token files, encoded on all cores.
//!
//! A document becomes what the tokenizer makes of its text, special tokens included (a tokenizer
//! that puts BOS in front keeps doing so, and generation then sees what training saw), and the EOS
//! token behind it. Text that spells a special token is text. Empty documents are left out.

use std::path::Path;

use rayon::prelude::*;
use tinyllama_model::Tokenizer;

use crate::data_error::DataError;
use crate::shards::{MAX_SHARD_TOKENS, ShardWriter, Split, SplitSize, TokenFormat};

/// Text that is encoded at once: enough for every core, little beside the model.
const BLOCK_BYTES: usize = 4 << 20;

/// Encodes documents and writes them as token files, in the order they come.
pub(crate) struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    /// The token to put behind every document; none where the tokenizer itself puts it there.
    appended_id: Option<u32>,
    train: ShardWriter,
    validation: ShardWriter,
    block: Vec<(Split, String)>,
    block_bytes: usize,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, folder: &Path) -> Result<Self, DataError> {
        let bare = encode(tokenizer, "")?;
        let bos_id = tokenizer.bos_id().filter(|_| tokenizer.adds_bos());
        let eos_id = tokenizer.eos_id();
        if bos_id.is_none() && eos_id.is_none() {
            return Err(DataError::NoSeparator);
        }
        let format = TokenFormat {
            vocab_size: tokenizer.vocab_size() as u32,
            bos_id,
            eos_id,
            fingerprint: tokenizer.fingerprint(),
        };
        let writer = |split| ShardWriter::new(folder, split, format.clone(), MAX_SHARD_TOKENS);
        Ok(Self {
            tokenizer,
            appended_id: eos_id.filter(|eos_id| bare.last() != Some(eos_id)),
            train: writer(Split::Train),
            validation: writer(Split::Validation),
            block: Vec::new(),
            block_bytes: 0,
        })
    }

    pub(crate) fn push(&mut self, split: Split, text: String) -> Result<(), DataError> {
        if text.is_empty() {
            return Ok(());
        }
        self.block_bytes += text.len();
        self.block.push((split, text));
        if self.block_bytes >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Completes both splits; each must have a token and its target.
    pub(crate) fn finish(mut self) -> Result<(SplitSize, SplitSize), DataError> {
        self.flush()?;
        let train = self.train.finish()?;
        let validation = self.validation.finish()?;
        for (split, size, remedy) in [
            (Split::Train, train, "give more text"),
            (
                Split::Validation,
                validation,
                "raise the validation fraction, give more documents, or name validation files",
            ),
        ] {
            if size.num_tokens < 2 {
                return Err(DataError::SplitTooSmall {
                    split: split.name(),
                    num_tokens: size.num_tokens,
                    needed_tokens: 2,
                    remedy,
                });
            }
        }
        Ok((train, validation))
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let encoded = self.block.par_iter().map(|(_, text)| encode(self.tokenizer, text));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        for ((split, text), mut tokens) in self.block.drain(..).zip(encoded) {
            tokens.extend(self.appended_id);
            let writer = match split {
                Split::Train => &mut self.train,
                Split::Validation => &mut self.validation,
            };
            writer.push(&tokens, text.len() as u64)?;
        }
        self.block_bytes = 0;
        Ok(())
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, DataError> {
    tokenizer.encode(text, true).map_err(|source| DataError::Tokenizer { source })
}
