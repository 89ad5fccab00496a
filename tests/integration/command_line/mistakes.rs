//! Mistakes of a user: exit code 1 and one message that names what to change, never a panic.

use super::*;

/// Runs a command that must fail, and looks for `expected` in its only message.
#[track_caller]
pub(super) fn refuses(command: &mut Command, expected: &[&str]) {
    let output = output(command.env("RUST_BACKTRACE", "1"));
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
    assert!(message.starts_with("error: "), "{command:?}: {message}");
    let errors = message.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{command:?}: {message}");
    for noise in ["panicked", "stack backtrace", "Stack backtrace", "Caused by"] {
        assert!(!message.contains(noise), "{command:?}: {message}");
    }
    for part in expected {
        assert!(message.contains(part), "{command:?}: no `{part}` in {message}");
    }
}

#[test]
fn of_a_model_or_device() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let absent = folder.path().join("model");
    let chats = folder.path().join("chats.jsonl");
    fs::write(&chats, "").expect("a new file");
    let with = |program: &str, model: &Path| {
        let mut command = example(program);
        command.arg("--model").arg(model);
        command
    };
    let no_folder = ["/model: no such folder", "--example pretrain"];
    refuses(&mut with("generate", &absent), &no_folder);
    refuses(with("chat", &absent).args(["--prompt", "Hello"]), &no_folder);
    let mut sft = with("sft", &absent);
    refuses(sft.arg("--data").arg(&chats).arg("--out").arg(folder.path().join("run")), &no_folder);
    // The default of chat is a model of the hub, which nothing reaches at that address.
    let mut offline = example("chat");
    offline.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", folder.path());
    let expected = ["TinyLlama-1.1B-Chat-v1.0: ", "--example pretrain", "--model out/demo"];
    refuses(offline.args(["--prompt", "Hello"]), &expected);
    refuses(&mut with("generate", folder.path()), &["no config.json"]);
    refuses(&mut with("generate", &chats), &["chats.jsonl: not a .gguf file"]);
    let hot = ["--temperature", "-1"];
    refuses(with("generate", &absent).args(hot), &["`temperature` is -1", "must be"]);

    if cfg!(not(any(feature = "cuda", feature = "cuda-cpp"))) {
        let expected = ["device `cuda:0`", "--features cuda"];
        for program in ["generate", "chat"] {
            refuses(with(program, &absent).args(["--device", "cuda"]), &expected);
        }
        let mut sft = with("sft", &absent);
        refuses(sft.arg("--data").arg(&chats).args(["--device", "cuda"]), &expected);
        for program in ["pretrain", "learner"] {
            refuses(example(program).args(["--device", "cuda"]).current_dir(&folder), &expected);
        }
    }
}

#[test]
fn of_settings() {
    let workplace = Workplace::new(SETTINGS);
    let toml = |text: &str| -> PathBuf {
        let path = workplace.path("wrong.toml");
        fs::write(&path, text).expect("a writable folder");
        path
    };
    let pretrain = |more: &[&str]| {
        let mut command = workplace.pretrain("run");
        command.args(more);
        command
    };
    let with_toml = |text: &str, expected: &[&str]| {
        let mut command = example("pretrain");
        command.arg("--out").arg(workplace.path("run")).arg("--config").arg(toml(text));
        refuses(&mut command, expected);
    };
    with_toml(
        "[model]\nhiden_size = 8",
        &["wrong.toml", "`model.hiden_size` is unknown", "hidden_size"],
    );
    with_toml("peak_lr = \"high\"", &["wrong.toml", "peak_lr"]);
    with_toml("batch_size = 4\nmicro_batch_size = 3", &["micro_batch_size is 3", "divisor"]);
    with_toml("max_steps =", &["wrong.toml"]);
    refuses(&mut pretrain(&["--max-steps", "0"]), &["max_steps is 0"]);
    refuses(&mut pretrain(&["--save-every", "0"]), &["save_every_steps is 0"]);
    refuses(&mut pretrain(&["--peak-tflops", "0"]), &["--peak-tflops is 0", "above 0"]);
    refuses(
        &mut pretrain(&["--preset", "tinyllama-120m", "--max-steps", "0"]),
        &["max_steps is 0"],
    );
    refuses(example("learner").args(["--max-steps", "3"]), &["--max-steps is 3", "at least 4"]);
}

#[test]
fn of_a_run_folder() {
    let (workplace, _) = trained();
    refuses(
        &mut workplace.pretrain("model"),
        &["model: holds a run at step 12", "--resume", "--out"],
    );
    refuses(
        workplace.pretrain("empty").arg("--resume"),
        &["empty: no complete checkpoint", "without --resume"],
    );
    let resume = || {
        let mut command = workplace.pretrain("model");
        command.arg("--resume");
        command
    };
    refuses(resume().args(["--max-steps", "20"]), &["max_steps is 20", "started with 12"]);
    refuses(resume().args(["--seed", "1"]), &["seed is 1"]);
    let mut elsewhere = example("pretrain");
    elsewhere.arg("--resume").arg("--out").arg(workplace.path("model"));
    refuses(&mut elsewhere, &["model was started with --data DIR"]);
    let notes = workplace.path("notes.txt");
    fs::write(&notes, "shopping list\n").expect("a new file");
    refuses(resume().arg("--metrics-out").arg(&notes), &["notes.txt: line 1", "--metrics-out"]);
    assert_eq!(fs::read_to_string(&notes).expect("it exists"), "shopping list\n");

    let mut sft = example("sft");
    sft.arg("--data").arg(workplace.path("text.jsonl")).arg("--model").arg(workplace.path("model"));
    refuses(sft.arg("--out").arg(workplace.path("model")), &["holds a run at step 12"]);
}

#[test]
fn of_data() {
    let (workplace, _) = trained();
    let absent = workplace.path("absent");
    let mut pretrain = example("pretrain");
    pretrain.arg("--out").arg(workplace.path("run"));
    refuses(pretrain.arg("--data").arg(&absent), &["absent"]);

    let chats = workplace.path("chats.jsonl");
    let sft = |rows: &str| {
        fs::write(&chats, rows).expect("a writable folder");
        let mut command = example("sft");
        command.arg("--model").arg(workplace.path("model")).arg("--data").arg(&chats);
        command.arg("--out").arg(workplace.path("run")).args(["--device", "cpu"]);
        command
    };
    let good = "{\"text\": \"### Human: a### Assistant: b\"}\n";
    let expected = ["chats.jsonl: line 2", "### Human:"];
    refuses(&mut sft(&format!("{good}{{\"text\": \"hello\"}}\n")), &expected);
    refuses(&mut sft(&format!("{good}{{\"txt\": \"hello\"}}\n")), &["line 2", "text"]);
    refuses(&mut sft(&format!("{good}not JSON\n")), &["chats.jsonl: line 2"]);
    refuses(&mut sft(""), &["chats.jsonl: no rows in it"]);
    refuses(sft(good).args(["--batch-size", "0"]), &["batch_size is 0"]);
    refuses(sft(good).args(["--lr", "-1"]), &["peak_lr is -1"]);

    let prepare = |out: &str, input: &Path| {
        let mut command = example("prepare_data");
        command.arg("--input").arg(input).arg("--out").arg(workplace.path(out));
        command.args(["--train-tokenizer", "300"]);
        command
    };
    refuses(&mut prepare("new", &absent), &["absent"]);
    refuses(&mut prepare("data", &workplace.path("text.jsonl")), &["data"]);
    refuses(&mut prepare("new", &workplace.path("tiny.toml")), &["tiny.toml"]);
}

#[test]
fn of_a_conversion() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_llama");
    let convert = |model: &Path, out: &str| {
        let mut command = example("convert");
        command.arg("--model").arg(model).arg("--out").arg(scratch.path().join(out));
        command
    };
    assert!(output(&mut convert(&fixture, "copy.gguf")).status.success());
    assert!(output(&mut convert(&fixture, "copy")).status.success());
    let copy = scratch.path().join("copy");
    refuses(&mut convert(&fixture, "copy.gguf"), &["copy.gguf: exists already"]);
    refuses(&mut convert(&fixture, "copy"), &["copy: exists already"]);
    refuses(convert(&fixture, "new").args(["--format", "gguf"]), &["name ends in .gguf"]);
    refuses(convert(&fixture, "new").args(["--quantize", "q8_0"]), &["--quantize", "safetensors"]);
    refuses(&mut convert(&fixture, "copy.gguf/new"), &["copy.gguf/new", "directory"]);

    // 1e6 in the last norm: f16 ends at 65504.
    let weights = copy.join("model.safetensors");
    let whole = fs::read(&weights).expect("just written");
    let mut bytes = whole.clone();
    let header = u64::from_le_bytes(*bytes.first_chunk().expect("a header")) as usize;
    let json: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let start = json["model.norm.weight"]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let at = 8 + header + start;
    let mut put = |value: f32| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(&weights, &bytes).expect("a file of ours");
    };
    put(1e6);
    let expected = ["`model.norm.weight` has an element of magnitude 1000000", "F16", "BF16"];
    refuses(convert(&copy, "half").args(["--dtype", "f16"]), &expected);
    put(f32::NAN);
    let expected = ["`model.norm.weight` holds an infinite or undefined element"];
    refuses(convert(&copy, "half").args(["--dtype", "f16"]), &expected);

    let header = scratch.path().join("model.bin");
    for (bytes, expected) in [
        (&b"PK\x03\x04"[..], "is an archive of PyTorch"),
        (&[0; 28], "model.bin: `vocab_size` is 0"),
        (&[1; 3], "model.bin: as a llama2.c checkpoint it is shorter than its header"),
        (b"24ka", "is of a later version"),
    ] {
        fs::write(&header, bytes).expect("a new file");
        refuses(&mut convert(&header, "new"), &["model.bin", expected]);
    }
    fs::write(copy.join("chat_template.jinja"), "{% for %}").expect("a new file");
    refuses(&mut convert(&copy, "new"), &["chat_template.jinja: the chat template is not valid"]);
}

/// A disk that is full after 8 KiB: enough for the small files, not for the weights.
#[cfg(unix)]
#[test]
fn of_a_conversion_that_ends_half_way() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_llama");
    fs::create_dir(scratch.path().join("empty")).expect("a new folder");
    let entries = |folder: &Path| fs::read_dir(folder).expect("a folder").count();
    for out in ["deep/copy", "empty", "copy.gguf"] {
        let convert = example("convert");
        let mut limited = Command::new("sh");
        // Without the trap the signal of a file that grows too large would kill it.
        limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
        limited.arg(convert.get_program()).arg("--model").arg(&fixture);
        refuses(limited.arg("--out").arg(scratch.path().join(out)), &["too large"]);
        assert_eq!(entries(scratch.path()), 1, "{out} left something");
        assert_eq!(entries(&scratch.path().join("empty")), 0, "{out} left something");
    }
}
