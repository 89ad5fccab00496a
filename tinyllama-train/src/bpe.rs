//! Training a byte-level BPE tokenizer (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2).
//!
//! Every byte is a token, so no text is unknown and no `<unk>` is needed. The same texts in the same
//! order give the same tokenizer.json.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, models::TrainerWrapper};

use crate::data_error::DataError;

/// Text of the begin-of-sequence token, id 0.
pub const BOS_TOKEN: &str = "<s>";

/// Text of the end-of-sequence token, id 1.
pub const EOS_TOKEN: &str = "</s>";

/// Smallest vocabulary: 256 bytes and the special tokens.
pub const MIN_VOCAB_SIZE: usize = 256 + 2;

/// Largest vocabulary: the ids of a `u16` token file.
pub const MAX_VOCAB_SIZE: usize = 1 << 16;

/// Trains a tokenizer on `texts`: [`BOS_TOKEN`] is 0, [`EOS_TOKEN`] 1, then 256 bytes, then merges.
///
/// Text splits into words by GPT-2's pattern, and no space is put in front. Small texts may run out
/// of pairs that occur twice, and then give fewer than `vocab_size` tokens.
///
/// # Errors
/// `vocab_size` is outside of [`MIN_VOCAB_SIZE`]`..=`[`MAX_VOCAB_SIZE`], or the trainer fails.
pub fn train_bpe(texts: &[String], vocab_size: usize) -> Result<Tokenizer, DataError> {
    check_vocab_size(vocab_size)?;
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level));
    tokenizer.with_decoder(Some(byte_level));
    let special = |text: &str| AddedToken::from(text, true);
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(vec![special(BOS_TOKEN), special(EOS_TOKEN)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    tokenizer
        .train(&mut trainer, texts.iter())
        .map_err(|error| DataError::TokenizerTraining { message: error.to_string() })?;
    Ok(tokenizer)
}

/// For callers that read a corpus first, so that a mistake shows before the wait.
pub(crate) fn check_vocab_size(vocab_size: usize) -> Result<(), DataError> {
    if (MIN_VOCAB_SIZE..=MAX_VOCAB_SIZE).contains(&vocab_size) {
        return Ok(());
    }
    Err(DataError::VocabSize { vocab_size, min: MIN_VOCAB_SIZE, max: MAX_VOCAB_SIZE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        (0..200)
            .map(|i| format!("fn item_{i}(x: u32) -> u32 {{ x + {i} }} // größe {i}\n"))
            .collect()
    }

    #[test]
    fn the_same_texts_give_the_same_file() {
        let train = || train_bpe(&texts(), 400).unwrap().to_string(false).unwrap();
        let first = train();
        for _ in 0..3 {
            assert_eq!(first, train());
        }
    }

    #[test]
    fn ids_and_round_trip() {
        let mut tokenizer = train_bpe(&texts(), 300).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 300);
        assert_eq!(tokenizer.token_to_id(BOS_TOKEN), Some(0));
        assert_eq!(tokenizer.token_to_id(EOS_TOKEN), Some(1));
        // Bytes never seen in training, and text that looks like a special token.
        tokenizer.set_encode_special_tokens(true);
        for text in ["fn item_7", " lead\t\n\n", "漢字 🦀", "a</s>b", ""] {
            let ids = tokenizer.encode_fast(text, true).unwrap();
            assert!(ids.get_ids().iter().all(|&id| id > 1), "{text}");
            assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0, MIN_VOCAB_SIZE - 1, MAX_VOCAB_SIZE + 1] {
            assert!(matches!(train_bpe(&texts(), size), Err(DataError::VocabSize { .. })));
        }
    }
}
