//! A model whose next token depends on nothing but the last one, by a table.
//!
//! Attention and MLP are zero, each token's embedding is a unit vector, and the row of the output
//! head for a token is large where its predecessors' vectors are. The chat template writes questions
//! as they are, so that the last character of a question decides the answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

/// `?` is answered by this.
pub(crate) const SHORT: &str = "An answer.";
/// `!` is answered by this without end.
pub(crate) const ENDLESS: &str = "la ";
/// `#` is answered by these, one token each.
pub(crate) const MARKDOWN: [&str; 6] =
    ["# Title\n", "some *", "*bold*", "* text\n", "- `code`\n", "```\nfn\n```"];
/// `~` is answered by letters drawn at random, without end.
const LETTERS: std::ops::RangeInclusive<char> = 'a'..='z';

/// More tokens than any test waits for.
const CONTEXT_TOKENS: usize = 32_768;
const HIDDEN: usize = 128;
const HEAD: usize = 64;
const INTERMEDIATE: usize = 4;

/// Writes the model's folder, which must exist.
pub(crate) fn write(folder: &Path) {
    let special = ["<s>", "</s>", "<unk>"];
    let characters = ('\n'..='\n').chain(' '..='~').map(String::from);
    let answers = [SHORT, ENDLESS].into_iter().chain(MARKDOWN);
    let tokens: Vec<String> = special
        .into_iter()
        .map(String::from)
        .chain(characters)
        .chain(answers.map(String::from))
        .collect();
    let id = |token: &str| tokens.iter().position(|known| known == token).expect("a known token");

    let end = id("</s>");
    let letters: Vec<usize> = LETTERS.map(|letter| id(&letter.to_string())).collect();
    let mut next: Vec<Vec<usize>> = vec![vec![end]; tokens.len()];
    next[id("?")] = vec![id(SHORT)];
    next[id("!")] = vec![id(ENDLESS)];
    next[id(ENDLESS)] = vec![id(ENDLESS)];
    next[id("~")] = letters.clone();
    letters.iter().for_each(|&letter| next[letter] = letters.clone());
    let mut before = id("#");
    for token in MARKDOWN {
        next[before] = vec![id(token)];
        before = id(token);
    }
    write_weights(folder, &next);
    write_files(folder, &tokens);
}

fn write_weights(folder: &Path, next: &[Vec<usize>]) {
    let vocab_size = next.len();
    assert!(vocab_size <= HIDDEN, "each token has a direction of its own");
    let mut embedding = vec![0.0; vocab_size * HIDDEN];
    let mut head = vec![0.0; vocab_size * HIDDEN];
    for (token, followers) in next.iter().enumerate() {
        embedding[token * HIDDEN + token] = 1.0;
        for follower in followers {
            // Times √128 from the norm: no other token is ever drawn.
            head[follower * HIDDEN + token] = 10.0;
        }
    }
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let zeros = |rows: usize, columns: usize| (vec![rows, columns], vec![0.0; rows * columns]);
    let ones = || (vec![HIDDEN], vec![1.0; HIDDEN]);
    let tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), (vec![vocab_size, HIDDEN], embedding)),
        ("lm_head.weight".to_owned(), (vec![vocab_size, HIDDEN], head)),
        ("model.norm.weight".to_owned(), ones()),
        (layer("input_layernorm"), ones()),
        (layer("post_attention_layernorm"), ones()),
        (layer("self_attn.q_proj"), zeros(HIDDEN, HIDDEN)),
        (layer("self_attn.k_proj"), zeros(HEAD, HIDDEN)),
        (layer("self_attn.v_proj"), zeros(HEAD, HIDDEN)),
        (layer("self_attn.o_proj"), zeros(HIDDEN, HIDDEN)),
        (layer("mlp.gate_proj"), zeros(INTERMEDIATE, HIDDEN)),
        (layer("mlp.up_proj"), zeros(INTERMEDIATE, HIDDEN)),
        (layer("mlp.down_proj"), zeros(HIDDEN, INTERMEDIATE)),
    ]);
    let bytes: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = (tensors.iter())
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, (shape.clone(), bytes))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("shapes are right"))
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))
        .expect("a writable folder");
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT_TOKENS,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": 1,
        "num_attention_heads": HIDDEN / HEAD,
        "num_key_value_heads": 1,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
    });
    fs::write(folder.join("config.json"), config.to_string()).expect("a writable folder");
}

/// A tokenizer that reads single characters and writes whole answers, and the chat template.
fn write_files(folder: &Path, tokens: &[String]) {
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let added = tokens[..3].iter().enumerate().map(|(id, content)| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    });
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"},
                          "behavior": "Isolated", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("a writable folder");
    let template = "{% for message in messages %}{{ message['content'] }}{% endfor %}";
    fs::write(folder.join("chat_template.jinja"), template).expect("a writable folder");
}
