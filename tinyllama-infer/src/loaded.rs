//! A model in memory: weights, tokenizer, chat template and its own generation settings.

use std::path::Path;

use burn::tensor::Device;
use kernels_cubecl::is_host;
use tinyllama_model::weights::Tensors;
use tinyllama_model::{CausalLm, ChatTemplate, Pretrained, Tokenizer, TokenizerError};

use crate::context::{Context, ids_tensor, to_f32};
use crate::error::InferError;

/// Everything that answering takes.
#[derive(Debug)]
pub struct LoadedModel {
    /// The weights, on the device they were loaded to.
    pub model: Box<dyn CausalLm>,
    /// The weights as they are stored, where the model computes with their bytes.
    pub tensors: Option<Tensors>,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The model's own chat template; a pretrained model has none.
    pub chat_template: Option<ChatTemplate>,
    /// The end tokens that the configuration, generation_config.json and the tokenizer name.
    pub stop_token_ids: Vec<u32>,
}

impl LoadedModel {
    /// Loads what [`locate`](crate::locate) finds: a folder in Hugging Face layout, a GGUF file or a
    /// checkpoint of llama2.c. On the CPU the weights stay in the bytes of their file; other devices
    /// get them in f32.
    ///
    /// # Errors
    /// A file is missing or damaged, or the files do not belong together.
    pub fn load(path: &Path, device: &Device) -> Result<Self, InferError> {
        Self::load_with(path, device, |_, _| {})
    }

    /// As [`LoadedModel::load`]; `progress` hears after each tensor how many of how many bytes of weights
    /// are loaded, in the end all of them.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub fn load_with(
        path: &Path,
        device: &Device,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, InferError> {
        let Pretrained { config, generation_config, tokenizer, chat_template, tensors } =
            Pretrained::open(path)?;
        let tokenizer =
            tokenizer.ok_or_else(|| TokenizerError::Missing { folder: path.to_owned() })?;
        let is_packed = is_host(device);
        let model: Box<dyn CausalLm> = match is_packed {
            true => Box::new(tensors.packed(&config, device, progress)?),
            false => Box::new(tensors.dense(&config, device, progress)?),
        };
        let mut stop_token_ids: Vec<u32> = Vec::new();
        let all = (config.eos_token_ids().into_iter())
            .chain(generation_config.eos_token_id)
            .chain(tokenizer.eos_id());
        for id in all {
            if !stop_token_ids.contains(&id) {
                stop_token_ids.push(id);
            }
        }
        let tensors = is_packed.then_some(tensors);
        Ok(Self { model, tensors, tokenizer, chat_template, stop_token_ids })
    }

    /// An empty text in front of the model.
    pub fn context(&self) -> Context<'_> {
        Context::with_tensors(&*self.model, self.tensors.as_ref())
    }

    /// The ids of a text to continue: as the tokenizer writes them, or the beginning token alone
    /// where that is nothing.
    ///
    /// # Errors
    /// The tokenizer refuses the text, or the text is empty and there is no beginning token.
    pub fn prompt_ids(&self, text: &str) -> Result<Vec<u32>, InferError> {
        let ids = self.tokenizer.encode(text, true)?;
        match (ids.is_empty(), self.tokenizer.bos_id()) {
            (false, _) => Ok(ids),
            (true, Some(bos)) => Ok(vec![bos]),
            (true, None) => Err(InferError::EmptyPrompt),
        }
    }

    /// The logits after every one of `ids` `[T]` by one full forward pass: `[T, V]`, row by row.
    ///
    /// # Errors
    /// `ids` is empty or longer than the context, or has an id that the model lacks.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, InferError> {
        let context_tokens = self.model.config().context_tokens();
        if ids.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        if ids.len() > context_tokens {
            return Err(InferError::PromptTooLong { prompt_tokens: ids.len(), context_tokens });
        }
        let device = self.model.device();
        let hidden = self.model.hidden(ids_tensor(ids, &*self.model, &device)?, None); // [1, T, D]
        Ok(to_f32(self.model.logits(hidden)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{fixture_folder, letters_json, letters_model};

    #[test]
    fn a_folder_without_tokenizer_is_refused() {
        let error = LoadedModel::load(&fixture_folder("tiny_llama"), &Device::flex()).unwrap_err();
        assert!(error.to_string().contains("no tokenizer.json"), "{error}");
    }

    #[test]
    fn every_file_may_name_end_tokens() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixture_folder("tiny_llama").join(file), folder.path().join(file)).unwrap();
        }
        fs::write(folder.path().join("tokenizer.json"), letters_json()).unwrap();
        let path = folder.path().join("generation_config.json");
        fs::write(&path, r#"{"eos_token_id": [2, 5, 7], "do_sample": true}"#).unwrap();
        let loaded = LoadedModel::load(folder.path(), &Device::flex()).unwrap();
        // 2 in config.json, 1 is `</s>` of the tokenizer.
        assert_eq!(loaded.stop_token_ids, [2, 5, 7, 1]);
    }

    #[test]
    fn an_empty_prompt_starts_from_the_beginning_token() {
        let loaded = letters_model();
        assert_eq!(loaded.prompt_ids("").unwrap(), [0]);
        assert_eq!(
            loaded.prompt_ids("a").unwrap().len(),
            1,
            "no token that the tokenizer adds not"
        );
    }
}
