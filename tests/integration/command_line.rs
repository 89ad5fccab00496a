//! What programs read from the examples: files and JSON with exactly these keys, errors in one line.

mod benches;
mod mistakes;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::examples::{Workplace, example, json_lines, output, stdout};

const STEP_KEYS: [&str; 7] = ["step", "tokens", "loss", "lr", "grad_norm", "tokens_per_s", "mfu"];
const FINAL_KEYS: [&str; 8] = [
    "event",
    "step",
    "tokens",
    "val_loss",
    "unigram_loss",
    "bigram_loss",
    "bits_per_byte",
    "wall_s",
];
const GENERATION_KEYS: [&str; 6] =
    ["prompt_ids", "ids", "text", "prompt_tokens_per_s", "decode_tokens_per_s", "ttft_ms"];

/// Seconds of training.
const SETTINGS: &str = "
max_steps = 12
warmup_steps = 2
batch_size = 4
micro_batch_size = 4
log_every_steps = 5
save_every_steps = 6
";

/// Losses are printed with all their digits.
const ROUNDING: f64 = 1e-9;

#[track_caller]
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key} of {object} is no number"))
}

#[track_caller]
fn ids(object: &Value, key: &str) -> Vec<u64> {
    let ids = object[key].as_array().unwrap_or_else(|| panic!("{key} of {object} is no list"));
    ids.iter().map(|id| id.as_u64().expect("an id")).collect()
}

/// A workplace with a finished run in `model`, and that run's log.
fn trained() -> (Workplace, Vec<Value>) {
    let workplace = Workplace::new(SETTINGS);
    let log = workplace.path("log.jsonl");
    let mut command = workplace.pretrain("model");
    stdout(command.arg("--metrics-out").arg(&log).args(["--peak-tflops", "0.5"]));
    (workplace, json_lines(&log))
}

fn with_model(program: &str, workplace: &Workplace) -> Command {
    let mut command = example(program);
    command.arg("--model").arg(workplace.path("model")).args(["--device", "cpu"]);
    command
}

/// What a program with `--json` printed: one object on one line, and nothing else.
#[track_caller]
fn object(command: &mut Command) -> Value {
    let text = stdout(command);
    assert_eq!(text.lines().count(), 1, "{text}");
    let object: Value = serde_json::from_str(&text).expect("an object");
    assert_eq!(keys(&object), GENERATION_KEYS);
    assert!(number(&object, "prompt_tokens_per_s") > 0.0 && number(&object, "ttft_ms") > 0.0);
    object
}

#[test]
fn pretrain_logs_steps_and_a_final_line() {
    let (workplace, log) = trained();
    let (last, steps) = log.split_last().expect("lines");
    let logged: Vec<_> = steps.iter().map(|line| line["step"].as_u64()).collect();
    assert_eq!(logged, [Some(1), Some(5), Some(10), Some(12)], "the first, every fifth, the last");
    for line in steps {
        assert_eq!(keys(line), STEP_KEYS);
        STEP_KEYS.iter().for_each(|key| assert!(number(line, key).is_finite(), "{key} of {line}"));
        assert_eq!(number(line, "tokens"), number(line, "step") * 4.0 * 32.0);
        // Sizes of the model: 6 FLOPs a weight and more for attention, of half a TFLOP/s.
        assert!(number(line, "mfu") > number(line, "tokens_per_s") * 6.0 * 20e3 / 0.5e12);
    }
    assert_eq!(keys(last), FINAL_KEYS);
    assert_eq!((&last["event"], &last["step"]), (&json!("final"), &json!(12)));
    assert_eq!(last["tokens"], steps[3]["tokens"]);
    assert!(number(last, "unigram_loss") > number(last, "bigram_loss"));
    assert!(number(last, "val_loss") < number(&steps[0], "loss"));
    assert!(number(last, "wall_s") > 0.0);
    // Bits per byte from the data set's own counts.
    let text = fs::read_to_string(workplace.path("data/dataset.json")).expect("a data set");
    let split = &serde_json::from_str::<Value>(&text).expect("JSON")["validation"];
    let tokens_per_byte = number(split, "num_tokens") / number(split, "text_bytes");
    let bits = number(last, "val_loss") / std::f64::consts::LN_2 * tokens_per_byte;
    assert!((number(last, "bits_per_byte") - bits).abs() < ROUNDING);
}

#[test]
fn generate_prints_one_object_and_writes_logits() {
    let (workplace, _) = trained();
    let file = workplace.path("logits.safetensors");
    let generate = |more: &[&str]| {
        let mut command = with_model("generate", &workplace);
        command.args(["--json", "--prompt", "The sum of 3"]).args(more);
        command
    };
    let greedy = object(
        generate(&["--max-new-tokens", "9", "--temperature", "0", "--logits-out"]).arg(&file),
    );
    let (prompt_ids, new_ids) = (ids(&greedy, "prompt_ids"), ids(&greedy, "ids"));
    assert!((1..=9).contains(&new_ids.len()) && greedy["text"].is_string());

    let bytes = fs::read(&file).expect("--logits-out was given");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names, ["logits", "token_ids"]);
    let (logits, token_ids) = (tensors.tensor("logits"), tensors.tensor("token_ids"));
    let (logits, token_ids) = (logits.expect("it is named"), token_ids.expect("it is named"));
    assert_eq!((token_ids.dtype(), token_ids.shape()), (Dtype::I64, &[prompt_ids.len()][..]));
    let written: Vec<_> =
        token_ids.data().as_chunks::<8>().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
    assert_eq!(written, prompt_ids);
    assert_eq!((logits.dtype(), logits.shape()), (Dtype::F32, &[prompt_ids.len(), 300][..]));
    let values = logits.data().as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
    let last_row: Vec<f32> = values.skip(300 * (prompt_ids.len() - 1)).collect();
    let most_probable = (0..300).max_by(|&a, &b| last_row[a].total_cmp(&last_row[b]));
    assert_eq!(most_probable, Some(new_ids[0] as usize), "greedy takes the largest logit");

    let drawn = |seed: &str| {
        object(&mut generate(&["--max-new-tokens", "9", "--seed", seed]))["ids"].clone()
    };
    assert_eq!(drawn("5"), drawn("5"), "the same seed draws the same text");
    let one = object(&mut generate(&["--max-new-tokens", "1"]));
    assert_eq!(one["decode_tokens_per_s"], Value::Null, "there is no second token to time");
}

#[test]
fn chat_answers_once_or_line_by_line() {
    let (workplace, _) = trained();
    let chat = || {
        let mut command = with_model("chat", &workplace);
        command.args(["--temperature", "0", "--max-new-tokens", "6"]);
        command
    };
    let answer = object(chat().args(["--json", "--prompt", "What is 3 + 4?"]));
    assert!(ids(&answer, "ids").len() <= 6 && !ids(&answer, "prompt_ids").is_empty());

    let lines =
        "/help\nWhat is 3 + 4?\n/set temperature 2\n/set top_k many\n/stats\n/nonsense\n/exit\n";
    let mut child = chat()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("it listens");
    let output = child.wait_with_output().expect("it was started");
    assert!(output.status.success(), "{}", output.status);
    // Answers are all that goes to stdout.
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(said.trim_end(), answer["text"].as_str().expect("a text"));
    let shown = String::from_utf8(output.stderr).expect("UTF-8");
    for expected in ["/system TEXT", "temperature 2,", "`top_k`", "no command /nonsense"] {
        assert!(shown.contains(expected), "no `{expected}` in\n{shown}");
    }
}

#[test]
fn prepare_data_makes_what_pretrain_reads() {
    let workplace = Workplace::new(SETTINGS);
    let mut command = example("prepare_data");
    command.arg("--input").arg(workplace.path("text.jsonl")).args(["--train-tokenizer", "300"]);
    let text =
        stdout(command.arg("--validation-fraction=0.1").arg("--out").arg(workplace.path("own")));
    for expected in ["vocabulary  300 tokens", "train       108 documents", "pretrain -- --data"] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    // The helper's data set came through the library with the same options.
    for file in ["train_00000.bin", "validation_00000.bin", "tokenizer.json", "dataset.json"] {
        let read = |folder: &str| fs::read(workplace.path(folder).join(file)).expect(file);
        assert!(read("own") == read("data"), "{file} differs");
    }
}

#[test]
fn sft_logs_like_pretrain_and_resumes_to_the_same_bytes() {
    let (workplace, _) = trained();
    let chats = workplace.path("chats.jsonl");
    let row = |i| json!({"text": format!("### Human: Name {i}.### Assistant: {i}!")}).to_string();
    fs::write(&chats, (0..5).map(|i| row(i) + "\n").collect::<String>()).expect("a new file");
    let (run, log) = (workplace.path("sft"), workplace.path("sft.jsonl"));
    let sft = || {
        let mut command = example("sft");
        command.arg("--data").arg(&chats).arg("--out").arg(&run).arg("--metrics-out").arg(&log);
        command.args(["--device", "cpu"]);
        command
    };
    let answer = |model: &Path| {
        let mut command = example("chat");
        command.arg("--model").arg(model).args(["--device", "cpu", "--temperature", "0", "--json"]);
        object(command.args(["--prompt", "Name 3."]))["text"].clone()
    };
    let mut command = sft();
    command.arg("--model").arg(workplace.path("model")).args(["--batch-size", "2", "--lr", "1e-2"]);
    let text = stdout(command.args(["--max-steps", "6", "--save-every", "3"]));
    assert!(text.contains("--example chat -- --model"), "it names what to do next\n{text}");
    let lines = json_lines(&log);
    let (last, steps) = lines.split_last().expect("lines");
    assert_eq!(steps.len(), 6);
    steps.iter().for_each(|line| assert_eq!(keys(line), STEP_KEYS));
    assert_eq!((keys(last), &last["event"]), (FINAL_KEYS.to_vec(), &json!("final")));

    // The newest checkpoint is damaged; `latest` still names it.
    let checkpoint = run.join("checkpoints/step-00000006");
    let weights = fs::read(checkpoint.join("model.safetensors")).expect("the run is finished");
    fs::write(checkpoint.join("config.json"), "{").expect("it exists");
    let text = stdout(sft().arg("--resume"));
    assert!(text.contains("config.json: its sha256") && text.contains("set aside"), "{text}");
    assert!(fs::read(checkpoint.join("model.safetensors")).expect("it is done again") == weights);
    let losses =
        |lines: &[Value]| lines.iter().map(|line| line["loss"].clone()).collect::<Vec<_>>();
    assert_eq!(losses(&json_lines(&log)), losses(&lines));
    assert_ne!(answer(&run), answer(&workplace.path("model")), "it changes answers");
}

#[test]
fn learner_ends_by_itself_with_a_model_and_its_loss() {
    let workplace = Workplace::new(SETTINGS);
    let out = workplace.path("learner");
    let mut command = example("learner");
    command.arg("--data").arg(workplace.path("data")).arg("--out").arg(&out);
    let text = stdout(command.args(["--max-steps", "40", "--device", "cpu"]));
    let loss = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.and_then(|value| value.trim_end_matches(',').parse().ok()).expect(&text)
    };
    // Before training every token is about as probable.
    assert!((loss("untrained") - f64::ln(300.0)).abs() < 0.5, "{text}");
    assert!(loss("trained") < loss("unigrams"), "{text}");
    let mut generate = example("generate");
    object(
        generate.arg("--model").arg(&out).args(["--device", "cpu", "--json", "--prompt", "The"]),
    );
}

/// `pretrain | head -1` trains to the end.
#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let workplace = Workplace::new(SETTINGS);
    let mut child =
        workplace.pretrain("model").stdout(Stdio::piped()).spawn().expect("the example starts");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    reader.read_line(&mut line).expect("it prints");
    drop(reader);
    assert!(line.starts_with("device"), "{line}");
    assert!(child.wait().expect("it was started").success());
    assert!(workplace.path("model/checkpoints/step-00000012/DONE").exists());
}
