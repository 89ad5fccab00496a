//! Fine-tuning learns the assistant's tokens and their stop token, and nothing else.

use burn::tensor::Device;
use tinyllama_model::{ChatTemplate, FlatParameters, Message, ModelConfig, TinyLlama, Tokenizer};
use tinyllama_sft::{Sample, encode_chats};
use tinyllama_train::{Batch, summed_nll, train_bpe};

fn tokenizer() -> Tokenizer {
    let texts = ["### Human: What is two and two?### Assistant: It is four.".to_owned()];
    train_bpe(&texts, 300).expect("a text and room for all bytes").into()
}

fn sample(tokenizer: &Tokenizer) -> Sample {
    let chat = [
        Message::user("What is two and two?"),
        Message::assistant("It is four."),
        Message::user("And three?"),
        Message::assistant("Five."),
    ];
    let template = ChatTemplate::guanaco();
    let (mut samples, counts) =
        encode_chats(&[chat.to_vec()], &template, tokenizer, 256).expect("a masked sample");
    assert_eq!(counts.samples, 1);
    samples.remove(0)
}

/// Flat gradients of the summed loss of one batch.
fn gradients(config: &ModelConfig, batch: &Batch) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let model = TinyLlama::init(config, &device, 3);
    let flat = FlatParameters::from_model(&model);
    let mut gradients =
        summed_nll(&model, batch.inputs(&device), batch.targets(&device)).backward();
    let buffers = flat.gather_gradients(&model, &mut gradients);
    buffers.into_iter().map(|buffer| buffer.into_data().iter::<f32>().collect()).collect()
}

fn config(tokenizer: &Tokenizer) -> ModelConfig {
    ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 24,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        ..ModelConfig::demo()
    }
}

#[test]
fn targets_are_the_answers_and_their_stop_tokens() {
    let tokenizer = tokenizer();
    let Sample { ids, loss_mask } = sample(&tokenizer);
    let targets: Vec<u32> =
        ids.iter().zip(&loss_mask).filter(|(_, mask)| **mask).map(|(id, _)| *id).collect();
    let text = tokenizer.decode_with_special(&targets).expect("known ids");
    assert_eq!(text, " It is four.</s> Five.</s>");
}

/// The last token of a row is read by nothing but the loss: if it is masked, changing it changes no
/// bit of any gradient; if it is a target, it does.
#[test]
fn a_masked_label_has_no_gradient() {
    let tokenizer = tokenizer();
    let Sample { ids, loss_mask } = sample(&tokenizer);
    let config = config(&tokenizer);
    let of_prefix = |len: usize, last: Option<u32>| {
        let (mut ids, loss_mask) = (ids[..len].to_vec(), &loss_mask[..len]);
        ids[len - 1] = last.unwrap_or(ids[len - 1]);
        gradients(&config, &Batch::from_masked(&[(&ids, loss_mask)], 0))
    };
    let answer = loss_mask.iter().position(|mask| *mask).expect("an answer");
    let question = answer + loss_mask[answer..].iter().position(|mask| !*mask).expect("a question");
    let other = Some((ids[question] + 1) % config.vocab_size as u32);
    assert_eq!(of_prefix(question + 1, None), of_prefix(question + 1, other));
    let other = Some((ids[question - 1] + 1) % config.vocab_size as u32);
    assert_ne!(of_prefix(question, None), of_prefix(question, other));
}
