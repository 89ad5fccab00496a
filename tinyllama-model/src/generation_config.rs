//! `generation_config.json`: the ids with which generation begins and ends, as transformers reads them.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ModelConfig, token_ids};
use crate::error::ConfigError;

const FILE: &str = "generation_config.json";

/// `generation_config.json`: the keys that are heeded, and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationConfig {
    /// The token that begins a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// Every token that ends one; a single number in the file where there is one.
    #[serde(default, with = "token_ids", skip_serializing_if = "Vec::is_empty")]
    pub eos_token_id: Vec<u32>,
    /// All other keys, which are kept for [`GenerationConfig::save`]: transformers' sampling settings.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl GenerationConfig {
    /// The file of a model folder; no ids where there is no file.
    ///
    /// # Errors
    /// The file cannot be read or is no such JSON.
    pub fn from_folder(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| ConfigError::InFile {
                path,
                source: Box::new(ConfigError::Json { source }),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    /// Writes the file of a model folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ConfigError> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).expect("plain fields and string keys");
        fs::write(&path, text + "\n").map_err(|source| ConfigError::Write { path, source })
    }
}

impl From<&ModelConfig> for GenerationConfig {
    fn from(config: &ModelConfig) -> Self {
        Self {
            bos_token_id: config.bos_token_id,
            eos_token_id: config.eos_token_ids(),
            other: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_is_what_transformers_writes() {
        let folder = tempfile::tempdir().unwrap();
        let text = || fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(
            GenerationConfig::from_folder(folder.path()).unwrap(),
            GenerationConfig::default()
        );
        for (ids, expected) in [
            (vec![], "{}\n"),
            (vec![2], "{\n  \"eos_token_id\": 2\n}\n"),
            (vec![2, 5], "{\n  \"eos_token_id\": [\n    2,\n    5\n  ]\n}\n"),
        ] {
            let config = GenerationConfig { eos_token_id: ids, ..GenerationConfig::default() };
            config.save(folder.path()).unwrap();
            assert_eq!(text(), expected);
            assert_eq!(GenerationConfig::from_folder(folder.path()).unwrap(), config);
        }
        let sampling = r#"{"do_sample":true,"temperature":0.6}"#;
        fs::write(folder.path().join(FILE), sampling).unwrap();
        GenerationConfig::from_folder(folder.path()).unwrap().save(folder.path()).unwrap();
        assert_eq!(text().replace([' ', '\n'], ""), sampling);
        fs::write(folder.path().join(FILE), r#"{"eos_token_id": "end"}"#).unwrap();
        let error = GenerationConfig::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("a token id or a list"), "{error}");
    }
}
