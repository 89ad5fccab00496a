//! The files of a tokenizer in a model folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::settings::{self, CONFIG_FILE};
use super::vocabulary::{Piece, PieceKind, Vocabulary};
use super::{Tokenizer, guard};
use crate::error::TokenizerError;

/// Hugging Face's file, which says everything.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// SentencePiece's and llama2.c's files, looked for in this order where the first one is missing.
const VOCABULARY_FILES: [&str; 2] = ["tokenizer.model", "tokenizer.bin"];
/// Tokens that were added to a `tokenizer.model` later.
const ADDED_FILE: &str = "added_tokens.json";

impl Tokenizer {
    /// Reads one file: a `tokenizer.model` of SentencePiece if it is called `*.model`, a
    /// `tokenizer.bin` of llama2.c if `*.bin`, else a `tokenizer.json`, whose beginning and end
    /// tokens are found by their usual names.
    ///
    /// # Errors
    /// The file cannot be read or is broken.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        match read_vocabulary(path)? {
            Some(vocabulary) => in_file(path, Self::from_vocabulary(&vocabulary)),
            None => in_file(path, Self::from_json(&guard::read(path)?)),
        }
    }

    /// Reads `tokenizer.json` of a model folder, else `tokenizer.model`, else `tokenizer.bin`, and
    /// the beginning and end tokens from `tokenizer_config.json` or `special_tokens_map.json` where
    /// the folder has them. For a `tokenizer.model` the first also says with `add_bos_token` whether
    /// texts begin with that token, and which tokens were added later, as does `added_tokens.json`.
    ///
    /// # Errors
    /// All three are missing, or a file is broken or names a token that the vocabulary lacks.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let is_here = |name: &&str| folder.join(name).exists();
        let mut tokenizer = if is_here(&TOKENIZER_FILE) {
            Self::from_file(&folder.join(TOKENIZER_FILE))?
        } else if let Some(name) = VOCABULARY_FILES.iter().find(|name| is_here(name)) {
            let path = folder.join(name);
            let mut vocabulary = read_vocabulary(&path)?.expect("the name is one of a vocabulary");
            amend(&mut vocabulary, folder)?;
            in_file(&path, Self::from_vocabulary(&vocabulary))?
        } else {
            return Err(TokenizerError::Missing { folder: folder.to_owned() });
        };
        tokenizer.settings = tokenizer.settings.amended(folder, &tokenizer.inner)?;
        Ok(tokenizer.with_bos_known())
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, which must exist.
    /// transformers opens them, and [`ChatTemplate::from_folder`] finds `chat_template` again.
    ///
    /// [`ChatTemplate::from_folder`]: crate::ChatTemplate::from_folder
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, chat_template: Option<&str>) -> Result<(), TokenizerError> {
        let path = folder.join(TOKENIZER_FILE);
        fs::write(&path, self.json(true))
            .map_err(|source| TokenizerError::Write { path, source })?;
        self.settings.save(folder, chat_template)
    }
}

/// `None` where the name is not one of a vocabulary.
fn read_vocabulary(path: &Path) -> Result<Option<Vocabulary>, TokenizerError> {
    let read: fn(&[u8]) -> Result<Vocabulary, TokenizerError> =
        match path.extension().and_then(OsStr::to_str) {
            Some("model") => Vocabulary::from_sentencepiece,
            Some("bin") => |bytes| Vocabulary::from_llama2c(bytes, None),
            _ => return Ok(None),
        };
    in_file(path, read(&guard::read(path)?)).map(Some)
}

fn in_file<T>(path: &Path, result: Result<T, TokenizerError>) -> Result<T, TokenizerError> {
    result.map_err(|source| TokenizerError::InFile {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// What Hugging Face's files say of a vocabulary that has no `tokenizer.json`.
fn amend(vocabulary: &mut Vocabulary, folder: &Path) -> Result<(), TokenizerError> {
    let path = folder.join(CONFIG_FILE);
    let config = settings::read(&path)?.unwrap_or_default();
    if let Some(add_bos) = config.get("add_bos_token").and_then(Value::as_bool) {
        vocabulary.add_bos = add_bos && vocabulary.bos_id.is_some();
    }
    let (path, mut added) = match config.get("added_tokens_decoder").and_then(Value::as_object) {
        Some(by_id) => {
            let token = |(id, token): (&String, &Value)| {
                let content = token["content"].as_str()?.to_owned();
                Some((id.parse::<u64>().ok()?, content, token["special"] == true))
            };
            (path, by_id.iter().filter_map(token).collect::<Vec<_>>())
        }
        None => {
            let path: PathBuf = folder.join(ADDED_FILE);
            let by_text = settings::read(&path)?.unwrap_or_default();
            let token = |(text, id): (String, Value)| Some((id.as_u64()?, text, true));
            (path, by_text.into_iter().filter_map(token).collect())
        }
    };
    added.sort_unstable();
    for (id, text, special) in added {
        let len = vocabulary.pieces.len() as u64;
        if id == len {
            let kind = if special { PieceKind::Control } else { PieceKind::UserDefined };
            vocabulary.pieces.push(Piece { text, score: 0.0, kind });
        } else if id > len || vocabulary.pieces[id as usize].text != text {
            let requirement = format!("of the id that the vocabulary gives it, or {len}, the next");
            let error = TokenizerError::invalid(format!("{id}"), format!("`{text}`"), requirement);
            return in_file(&path, Err(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
