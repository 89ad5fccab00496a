//! `bench` at sizes of a moment: the keys that programs read, and mistakes.

use serde_json::Value;

use super::mistakes::refuses;
use super::{keys, number};
use crate::examples::{example, stdout};

const KERNEL_KEYS: [&str; 11] = [
    "op",
    "shape",
    "dtype",
    "direction",
    "ms",
    "tflops",
    "gb_per_s",
    "share_of_limit",
    "copy_gb_per_s",
    "plan",
    "relative_error",
];

fn bench(arguments: &[&str]) -> std::process::Command {
    let mut command = example("bench");
    command.args(arguments).args(["--device", "cpu", "--json"]);
    command
}

#[test]
fn kernels_are_checked_and_timed() {
    let operations = "rms_norm,rope,cross_entropy,adamw";
    let text = stdout(&mut bench(&["kernels", "--rows", "3", "--op", operations]));
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let named: Vec<_> =
        lines.iter().map(|line| (line["op"].as_str(), line["direction"].as_str())).collect();
    let expected = [
        ("rms_norm", "forward"),
        ("rms_norm", "backward"),
        ("rope", "in place"),
        ("cross_entropy", "forward"),
        ("cross_entropy", "backward"),
        ("adamw", "in place"),
    ];
    assert_eq!(named, expected.map(|(op, direction)| (Some(op), Some(direction))));
    for line in &lines {
        assert_eq!(keys(line), KERNEL_KEYS);
        assert_eq!(line["dtype"], "f32");
        assert!(number(line, "ms") > 0.0 && number(line, "share_of_limit") > 0.0, "{line}");
        assert!(number(line, "relative_error") < 1e-5, "{line}");
    }
}

#[test]
fn training_steps_are_timed() {
    let sizes = ["--micro-batch", "1", "--sequence-tokens", "8", "--steps", "2"];
    let text = stdout(&mut bench(&[&["train"], &sizes[..]].concat()));
    let found: Value = serde_json::from_str(&text).expect("one object");
    let rates = &found["tokens_per_s"];
    assert!(number(rates, "p5") <= number(rates, "median"), "{found}");
    assert!(number(rates, "median") <= number(rates, "p95"), "{found}");
    assert!(number(&found, "first_step_s") > 0.0, "{found}");
    assert_eq!(found["losses"].as_array().map(Vec::len), Some(2), "{found}");
    // Random weights know nothing of the tokens: about ln of the vocabulary.
    assert!((number(&found, "first_loss") - 1024_f64.ln()).abs() < 0.5, "{found}");
}

#[test]
fn mistakes_are_named() {
    refuses(&mut bench(&["kernels", "--op", "rms_normal"]), &["--op rms_normal", "rms_norm"]);
    refuses(&mut bench(&["kernels", "--rows", "0"]), &["--rows is 0"]);
    refuses(&mut bench(&["kernels", "--sweep", "plans.toml"]), &["--sweep", "Flex has no plans"]);
    refuses(&mut bench(&["train", "--steps", "0"]), &["--steps is 0"]);
    refuses(&mut bench(&["train", "--preset", "big"]), &["big", "tinyllama-1.1b"]);
    refuses(&mut bench(&["train", "--micro-batch", "0"]), &["batch_size is 0"]);
}
