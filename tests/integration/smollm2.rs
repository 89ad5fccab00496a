//! SmolLM2-135M-Instruct in Q4_1, as transformers computes it in f32 with the dequantised weights.
//!
//! `scripts/get-smollm2.sh` fetches the file; the reference is an asset that a fresh clone lacks.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde_json::Value;
use tinyllama_infer::{ChatSession, LoadedModel, Sampling};
use tinyllama_model::{NoCache, PackedLinear, Pretrained, Residual, Rope, TinyLlama};

use crate::examples::example;
use crate::reference_logits::{assert_logits, assets, ids, read, to_vec};

/// 30 layers in f32, summed in another order than PyTorch's, at logits of up to 30.
const LOGITS: f64 = 2e-3;

/// Hidden states grow to some thousands in single channels, each rounded to 6e-8 of itself per layer.
const HIDDEN: f64 = 2e-3;

/// Windows of 1023 predictions; the reference has four digits of a mean in f32.
const MEAN_NLL: f64 = 1e-4;

/// Up to 30 tokens, each to 2e-3 of a logit, rounded to four digits in the reference.
const OPTION: f64 = 1e-2;

struct Reference {
    assets: PathBuf,
    gguf: PathBuf,
    json: Value,
}

/// `None`, said once, where a file is absent.
static REFERENCE: LazyLock<Option<Reference>> = LazyLock::new(|| {
    let assets = assets()?;
    let gguf = GGUF.clone()?;
    let json = fs::read_to_string(assets.join("reference/smollm2_135m_q4_1_reference.json"));
    let json = serde_json::from_str(&json.expect("an asset")).expect("JSON");
    Some(Reference { assets, gguf, json })
});

/// As above, for what needs the file alone.
static GGUF: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    let cached = cache.join("tinyllama/SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = std::env::var_os("TINYLLAMA_SMOLLM2").map_or(cached, PathBuf::from);
    if !gguf.is_file() {
        let get = "scripts/get-smollm2.sh fetches it";
        writeln!(io::stderr(), "skipped: {} is absent ({get})", gguf.display()).ok();
        return None;
    }
    Some(gguf)
});

fn numbers(json: &Value) -> Vec<u32> {
    let ids = json.as_array().expect("a list").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn loaded(reference: &Reference) -> LoadedModel {
    LoadedModel::load(&reference.gguf, &Device::flex()).expect("a model")
}

#[test]
fn prompts_have_the_ids_and_logits_of_transformers() {
    let Some(reference) = &*REFERENCE else { return };
    let loaded = loaded(reference);
    let expected = read(&reference.assets.join("reference/smollm2_135m_q4_1_logits.safetensors"));
    for (index, prompt) in reference.json["prompts"].as_array().unwrap().iter().enumerate() {
        let found = loaded.tokenizer.encode(prompt["prompt"].as_str().unwrap(), false).unwrap();
        assert_eq!(found, numbers(&prompt["ids"]), "prompt {index}");
        let logits: Vec<f64> = loaded.logits(&found).unwrap().into_iter().map(f64::from).collect();
        if let Some((_, all)) = expected.get(&format!("p{index}.logits_all")) {
            assert_logits(&logits, all, LOGITS, "all positions");
        }
        let last = &expected[&format!("p{index}.last_logits")].1;
        assert_logits(&logits[logits.len() - last.len()..], last, LOGITS, "last position");
    }
}

#[test]
fn every_layer_is_that_of_transformers() {
    let Some(reference) = &*REFERENCE else { return };
    let device = Device::flex();
    let Pretrained { config, tensors, .. } = Pretrained::open(&reference.gguf).unwrap();
    let model: TinyLlama<PackedLinear> = tensors.packed(&config, &device, |_, _| {}).unwrap();
    let expected = read(&reference.assets.join("reference/smollm2_135m_q4_1_logits.safetensors"));
    let (shape, states) = &expected["p0.hidden_states"];
    let [layers, length, width] = shape[..] else { panic!("three dimensions") };
    assert_eq!((layers, width), (config.num_hidden_layers + 1, config.hidden_size));
    let prompt = numbers(&reference.json["prompts"][0]["ids"]);
    let prompt: Vec<f64> = prompt.into_iter().map(f64::from).collect();
    use tinyllama_model::Projection as _;
    let mut stream = Residual::new(model.embed_tokens.rows(ids(&prompt, [1, length], &device)));
    let rope = Rope::new(&config, 0..length, &device);
    for (index, state) in states.chunks(length * width).enumerate() {
        // transformers shows the last one behind the final norm.
        let found = match index == config.num_hidden_layers {
            true => stream.clone().norm(&model.norm).0,
            false => stream.clone().sum(),
        };
        let size = state.iter().map(|value| value.abs()).fold(1.0, f64::max);
        assert_logits(&to_vec(found), state, HIDDEN * size, &format!("hidden state {index}"));
        if let Some(layer) = model.layers.get(index) {
            stream = layer.forward(stream, &rope, &mut NoCache);
        }
    }
}

#[test]
fn chat_answers_token_for_token() {
    let Some(reference) = &*REFERENCE else { return };
    let loaded = loaded(reference);
    let sampling = Sampling::greedy();
    for chat in reference.json["chats"].as_array().unwrap() {
        let mut session = ChatSession::new(&loaded, sampling, 64).unwrap();
        let question = chat["user"].as_str().unwrap();
        let answer = session.ask(question, &false.into(), |_| {}).unwrap();
        assert_eq!(answer.prompt_ids, numbers(&chat["prompt_ids"]));
        assert_eq!(answer.ids, numbers(&chat["greedy_ids"]));
    }
}

/// One of the reference's four windows: they differ in nothing but text.
#[test]
fn a_window_has_the_perplexity_of_transformers() {
    let Some(reference) = &*REFERENCE else { return };
    let loaded = loaded(reference);
    let nll = &reference.json["nll"]["tinystories"];
    let text = fs::read_to_string(reference.assets.join(nll["file"].as_str().unwrap())).unwrap();
    let window = nll["window"].as_u64().unwrap() as usize;
    // The beginning has more characters than the window has tokens.
    let beginning: String = text.chars().take(8 * window).collect();
    let tokens = loaded.tokenizer.encode(&beginning, false).unwrap();
    let score = loaded.context().score(&tokens[..window], 1).unwrap();
    let found = -score.sum() / (window - 1) as f64;
    let expected = nll["mean_nll_per_window"][0].as_f64().unwrap();
    assert!((found - expected).abs() < MEAN_NLL, "{found} for {expected}");
}

#[test]
fn options_of_arc_easy_have_the_probabilities_of_transformers() {
    let Some(reference) = &*REFERENCE else { return };
    let loaded = loaded(reference);
    let tasks = fs::read_to_string(reference.assets.join("eval/arc_easy.jsonl")).unwrap();
    let items = reference.json["arc_easy_first50"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 50);
    let mut context = loaded.context();
    for (index, (task, item)) in tasks.lines().zip(items).enumerate() {
        let task: Value = serde_json::from_str(task).unwrap();
        let question = format!("{}\nAnswer:", task["query"].as_str().unwrap());
        let question_ids = loaded.tokenizer.encode(&question, false).unwrap();
        let expected = item["sum_logprob"].as_array().unwrap();
        for (choice, expected) in task["choices"].as_array().unwrap().iter().zip(expected) {
            let text = format!("{question} {}", choice.as_str().unwrap());
            let ids = loaded.tokenizer.encode(&text, false).unwrap();
            let found = context.score(&ids, question_ids.len()).unwrap().sum();
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < OPTION, "task {index}: {found} for {expected}");
        }
    }
}

/// A file that is copied into a folder of plain floats answers as before.
#[test]
fn a_converted_copy_answers_the_same() {
    let Some(reference) = &*REFERENCE else { return };
    let scratch = tempfile::tempdir().unwrap();
    let original = Pretrained::open(&reference.gguf).unwrap();
    original.save_folder(scratch.path(), None).unwrap();
    check_copy(scratch.path(), reference);
}

fn check_copy(folder: &Path, reference: &Reference) {
    let loaded = LoadedModel::load(folder, &Device::flex()).expect("a model");
    let sampling = Sampling::greedy();
    let chat = &reference.json["chats"][0];
    let mut session = ChatSession::new(&loaded, sampling, 64).expect("valid settings");
    let answer = session
        .ask(chat["user"].as_str().expect("text"), &false.into(), |_| {})
        .expect("an answer");
    assert_eq!(answer.prompt_ids, numbers(&chat["prompt_ids"]));
    assert_eq!(answer.ids, numbers(&chat["greedy_ids"]));
}

/// A question of some 40 tokens.
const QUESTION: &str = "I would like to bake a simple loaf of bread this weekend, but I only have flour, \
                        water, salt and a little yeast at home. What should I do first, and how long \
                        will it take?";

/// What a user waits without wondering; it takes a fraction of that on two idle cores.
const FIRST_TOKEN: Duration = Duration::from_secs(2);

/// From the question to the first byte of the answer, in a chat that has loaded its model.
fn first_token(gguf: &Path) -> Duration {
    let mut chat = example("chat");
    chat.arg("--model").arg(gguf).args(["--device", "cpu", "--temperature", "0"]);
    chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = chat.spawn().expect("the example starts");
    let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let is_ready = said.any(|line| line.expect("UTF-8").contains("/help lists the commands"));
    assert!(is_ready, "the chat ended before its first question");
    let mut keyboard = child.stdin.take().expect("it is piped");
    let start = Instant::now();
    writeln!(keyboard, "{QUESTION}").expect("it listens");
    let mut first = [0];
    child.stdout.take().expect("it is piped").read_exact(&mut first).expect("an answer");
    let took = start.elapsed();
    child.kill().ok();
    child.wait().expect("it was started");
    took
}

#[test]
fn the_first_token_of_an_answer_comes_soon() {
    let Some(gguf) = &*GGUF else { return };
    let tokenizer = Pretrained::open(gguf).unwrap().tokenizer.expect("it is in the file");
    let tokens = tokenizer.encode(QUESTION, false).unwrap().len();
    assert!((35..=45).contains(&tokens), "{tokens} tokens");
    // A busy machine may take the time away from one attempt, hardly from three.
    let mut attempts = (0..3).map(|_| first_token(gguf));
    let fastest = attempts.find(|took| *took < FIRST_TOKEN);
    assert!(fastest.is_some(), "no token within {FIRST_TOKEN:?}, three times");
}
