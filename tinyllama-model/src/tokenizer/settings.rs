//! Which tokens begin and end a sequence: `tokenizer_config.json` and `special_tokens_map.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::vocabulary::Vocabulary;
use crate::error::TokenizerError;

pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";
const MAP_FILE: &str = "special_tokens_map.json";
const PAD_KEY: &str = "pad_token";

/// Names of Llama 2, Llama 3, ChatML and GPT-2 vocabularies, in the order they are tried.
const USUAL_BOS: [&str; 4] = ["<s>", "<|begin_of_text|>", "<|im_start|>", "<|endoftext|>"];
const USUAL_EOS: [&str; 4] = ["</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"];

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) bos_token: Option<String>,
    pub(super) eos_token: Option<String>,
    /// All keys of `tokenizer_config.json`, kept for [`Settings::save`].
    config: Map<String, Value>,
}

impl Settings {
    /// The first usual name that is a special token here.
    pub(super) fn by_usual_names(tokenizer: &tokenizers::Tokenizer) -> Self {
        let known = |name: &&str| tokenizer.get_added_vocabulary().is_special_token(name);
        let first = |names: [&str; 4]| names.into_iter().find(known).map(str::to_owned);
        Self { bos_token: first(USUAL_BOS), eos_token: first(USUAL_EOS), config: Map::new() }
    }

    /// What a vocabulary says of its ids, which are known to be right.
    pub(super) fn of_vocabulary(vocabulary: &Vocabulary) -> Self {
        let text = |id: Option<u32>| Some(vocabulary.spelled(&vocabulary.pieces[id? as usize]));
        let pad = text(vocabulary.pad_id).map(|pad| (PAD_KEY.to_owned(), json!(pad)));
        Self {
            bos_token: text(vocabulary.bos_id),
            eos_token: text(vocabulary.eos_id),
            config: pad.into_iter().collect(),
        }
    }

    /// Text of the token that fills short rows.
    pub(super) fn pad_token(&self) -> Option<&str> {
        text_of(self.config.get(PAD_KEY)?)
    }

    /// What the folder's files say; `self` where they say nothing.
    pub(super) fn amended(
        self,
        folder: &Path,
        tokenizer: &tokenizers::Tokenizer,
    ) -> Result<Self, TokenizerError> {
        let mut settings = self;
        // The later file has the last word, as in transformers.
        for name in [MAP_FILE, CONFIG_FILE] {
            let path = folder.join(name);
            let Some(keys) = read(&path)? else { continue };
            for (key, token) in
                [("bos_token", &mut settings.bos_token), ("eos_token", &mut settings.eos_token)]
            {
                let Some(value) = keys.get(key) else { continue };
                // Null says that there is none.
                let text = text_of(value);
                if let Some(text) = text
                    && tokenizer.token_to_id(text).is_none()
                {
                    let token = text.to_owned();
                    return Err(TokenizerError::UnknownSpecialToken { path, key, token });
                }
                *token = text.map(str::to_owned);
            }
            if name == CONFIG_FILE {
                settings.config.extend(keys);
            }
        }
        Ok(settings)
    }

    /// Writes `tokenizer_config.json`: the keys read from one, or else what transformers needs.
    pub(super) fn save(
        &self,
        folder: &Path,
        chat_template: Option<&str>,
    ) -> Result<(), TokenizerError> {
        let mut config = self.config.clone();
        let mut set_default = |key: &str, value: Value| {
            config.entry(key).or_insert(value);
        };
        set_default("tokenizer_class", json!("PreTrainedTokenizerFast"));
        set_default("clean_up_tokenization_spaces", json!(false));
        set_default("bos_token", json!(self.bos_token));
        set_default("eos_token", json!(self.eos_token));
        if let Some(template) = chat_template {
            config.insert("chat_template".to_owned(), json!(template));
        }
        let path = folder.join(CONFIG_FILE);
        let text = format!("{:#}\n", Value::Object(config));
        fs::write(&path, text).map_err(|source| TokenizerError::Write { path, source })
    }
}

/// Either the text itself or an AddedToken object.
fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// The keys of a JSON file, `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Map<String, Value>>, TokenizerError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TokenizerError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| TokenizerError::Settings { path: path.to_owned(), source })
}
