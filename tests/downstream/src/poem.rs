//! A model on a text of one's own: tokenizer, batches, run folder, and the saved model's words.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::Device;
use serde_json::{Value, json};
use tinyllama_infer::{LoadedModel, Request, Sampler, Sampling, StopRules, generate_text, locate};
use tinyllama_model::{ModelConfig, TinyLlama, Tokenizer};
use tinyllama_train::{
    Batch, BatchSource, Interrupter, Monitor, RunContext, RunFolder, SourceError, TokenizerFiles,
    TrainConfig, Trainer, run, train_bpe,
};

/// William Blake, The Tyger (1794).
const POEM: &str = "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand \
    or eye,\nCould frame thy fearful symmetry?\n";
const STEPS: u64 = 200;

/// Windows of one text, each a token further than the one before, round and round.
struct Windows {
    ids: Vec<u32>,
    sequence_tokens: usize,
    position: usize,
}

impl BatchSource for Windows {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        let mut rows = Vec::new();
        for _ in 0..num_sequences {
            let around = self.ids.iter().cycle().skip(self.position % self.ids.len());
            rows.extend(around.take(self.sequence_tokens + 1));
            self.position += 1;
        }
        Ok(Batch::from_windows(&rows, self.sequence_tokens))
    }

    fn state(&self) -> Value {
        json!(self.position)
    }

    fn restore(&mut self, state: &Value) -> Result<(), SourceError> {
        let position = state.as_u64().ok_or("the state of these windows is a position")?;
        self.position = position as usize;
        Ok(())
    }
}

/// Trains on the poem, saves the run and lets the saved model recite.
pub fn learns_a_text() -> Result<()> {
    let tokenizer: Tokenizer = train_bpe(&[POEM.to_owned()], 280)?.into();
    let ids = tokenizer.encode(POEM, false)?;
    let model = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 128,
        bos_token_id: tokenizer.bos_id(),
        eos_token_id: tokenizer.eos_id(),
        ..ModelConfig::demo()
    };
    let config = TrainConfig {
        preset: "poem".to_owned(),
        peak_lr: 1e-2,
        min_lr: 1e-3,
        batch_size: 8,
        micro_batch_size: 8,
        sequence_tokens: 24,
        model: model.clone(),
        ..TrainConfig::demo()
    }
    .with_max_steps(STEPS);

    let first_windows =
        Batch::from_windows(&ids[..=config.sequence_tokens], config.sequence_tokens);
    let source = Windows { ids, sequence_tokens: config.sequence_tokens, position: 0 };
    let device = Device::flex();
    let first_weights = TinyLlama::init(&model, &device.clone().autodiff(), config.seed);
    let mut trainer = Trainer::new(config, first_weights, source)?;
    // The beginning of the text: this model is to learn it by heart.
    let held_out = [first_windows];
    let before = trainer.evaluate(&held_out).context("there are targets")?;

    let folder = tempfile::tempdir()?;
    let run_folder = RunFolder::new(folder.path().join("poem"));
    let context = RunContext {
        folder: &run_folder,
        files: TokenizerFiles { tokenizer: &tokenizer, chat_template: None },
        held_out: &held_out,
        peak_flops: None,
        earlier_wall_s: 0.0,
    };
    let outcome = run(&mut trainer, context, &mut Monitor::quiet(Interrupter::new(), None))?;
    let after = outcome.val_loss.context("a finished run is evaluated")?;
    println!("poem: {before:.3} -> {after:.3} nats/token in {} steps", outcome.step);
    ensure!(outcome.is_finished && outcome.step == STEPS);
    // An untrained model is at ln(vocabulary size) = 5.6; the text itself is far below one nat.
    ensure!(after < 0.5 * before, "the loss fell only from {before} to {after}");

    let name = run_folder.path().to_str().context("the folder's name is UTF-8")?;
    let first = recite(name, &device)?;
    println!("poem: {first:?}");
    ensure!(first == recite(name, &device)?, "the same seed draws the same text");
    ensure!(first.contains("night"), "the poem is learnt by heart, yet the model says {first:?}");
    Ok(())
}

/// Opens the model and lets it continue the poem's first words.
fn recite(name: &str, device: &Device) -> Result<String> {
    let loaded = LoadedModel::load(&locate(name)?, device)?;
    let prompt_ids = loaded.prompt_ids("Tyger Tyger, burning")?;
    let request = Request {
        prompt_ids: &prompt_ids,
        max_new_tokens: 40,
        stop: &StopRules::default(),
        cancel: &AtomicBool::new(false),
    };
    let mut sampler = Sampler::new(Sampling { temperature: 0.3, ..Sampling::unfiltered(7) })?;
    let mut context = loaded.context();
    let generation =
        generate_text(&mut context, &loaded.tokenizer, &request, &mut sampler, |_| {})?;
    Ok(generation.text)
}
