//! Fine-tuning changes answers: a chat with the saved model says what it was taught, and stops there.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use tinyllama_infer::{ChatSession, FinishReason, LoadedModel, Sampling, locate};
use tinyllama_model::{ChatTemplate, Message, ModelConfig, TinyLlama, Tokenizer};
use tinyllama_sft::{ChatSource, encode_chats};
use tinyllama_train::{
    Interrupter, Monitor, RunContext, RunFolder, TokenizerFiles, TrainConfig, Trainer, run,
    train_bpe,
};

const CHATS: [(&str, &str); 3] = [
    ("What is two and two?", "It is four."),
    ("Who wrote The Tyger?", "William Blake did."),
    ("Say nothing.", "..."),
];

#[test]
fn greedy_answers_become_the_taught_ones() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let template = ChatTemplate::guanaco();
    let chats =
        CHATS.map(|(question, answer)| vec![Message::user(question), Message::assistant(answer)]);
    let texts: Vec<String> =
        CHATS.iter().map(|(a, b)| format!("### Human: {a}### Assistant: {b}")).collect();
    let tokenizer: Tokenizer = train_bpe(&texts, 300).expect("texts and room for all bytes").into();
    let (samples, _) =
        encode_chats(&chats, &template, &tokenizer, 96).expect("chats with answers that fit");
    let source = ChatSource::new(samples, tokenizer.eos_id().expect("BPE has one"), 1);

    let config = config(&tokenizer);
    let model = TinyLlama::init(&config.model, &Device::flex().autodiff(), 5);
    let mut trainer = Trainer::new(config, model, source).expect("valid settings");
    let run_folder = RunFolder::new(folder.path());
    let files = TokenizerFiles { tokenizer: &tokenizer, chat_template: Some(template.source()) };
    run_folder.save(&trainer, files, 0.0).expect("a writable folder");
    let before = answers(folder.path());
    let context = RunContext {
        folder: &run_folder,
        files,
        held_out: &[],
        peak_flops: None,
        earlier_wall_s: 0.0,
    };
    run(&mut trainer, context, &mut Monitor::quiet(Interrupter::new(), None))
        .expect("a finite loss");
    let after = answers(folder.path());

    for (((question, taught), before), after) in CHATS.iter().zip(before).zip(after) {
        assert_ne!(before.0, *taught, "{question}");
        assert_eq!(after, ((*taught).to_owned(), FinishReason::StopToken), "{question}");
    }
}

/// A model of 20,000 parameters, 60 steps at a learning rate far above any real fine-tuning.
fn config(tokenizer: &Tokenizer) -> TrainConfig {
    let model = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        bos_token_id: tokenizer.bos_id(),
        eos_token_id: tokenizer.eos_id(),
        ..ModelConfig::demo()
    };
    TrainConfig {
        preset: "sft".to_owned(),
        peak_lr: 2e-2,
        min_lr: 2e-3,
        batch_size: 3,
        micro_batch_size: 3,
        sequence_tokens: 96,
        model,
        ..TrainConfig::demo()
    }
    .with_max_steps(60)
}

/// Greedy answers to each question alone, from what the folder holds now.
fn answers(folder: &Path) -> Vec<(String, FinishReason)> {
    let folder = locate(folder.to_str().expect("a UTF-8 path")).expect("a run folder");
    let loaded = LoadedModel::load(&folder, &Device::flex()).expect("a complete checkpoint");
    assert!(loaded.chat_template.is_some(), "it asks in the form it was taught in");
    let answer = |(question, _)| {
        let mut session =
            ChatSession::new(&loaded, Sampling::greedy(), 40).expect("settings within range");
        let answer = session.ask(question, &AtomicBool::new(false), |_| {}).expect("room for it");
        (answer.text, answer.finish_reason)
    };
    CHATS.map(answer).into()
}
