//! The example programs as a user starts them, and data and settings on which they take seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tinyllama_train::{
    PrepareOptions, ProgressBar, TokenizerSource, ValidationSource, prepare_data,
};

/// An example, with its input closed.
///
/// # Panics
/// It is not built, or a source file has changed since.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a file");
    let profile = test.parent().and_then(Path::parent).expect("tests are in target/<profile>/deps");
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let build = "build it with `cargo build --release --examples`, or test without `--test`";
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(built) = modified(&program) else { panic!("no {}: {build}", program.display()) };
    // Cargo's list of what the program was built from: `PROGRAM: FILE FILE ..`.
    let list = fs::read_to_string(program.with_extension("d")).expect("Cargo writes it");
    let (_, sources) = list.split_once(": ").expect("a rule");
    // A space within a name is escaped, and such a name is not looked up.
    let changed = sources
        .split_whitespace()
        .map(Path::new)
        .find(|source| modified(source).is_ok_and(|time| time > built));
    if let Some(source) = changed {
        panic!("{} is older than {}: {build}", program.display(), source.display());
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// What an example printed.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().expect("the example starts")
}

/// As [`output`], for an example that must succeed: its stdout.
#[track_caller]
pub(crate) fn stdout(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A file of JSON lines.
#[track_caller]
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    text.lines().map(parse).collect()
}

/// A folder with a data set `data`, settings `tiny.toml`, and room for a run.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// Prepares the data and writes `settings`, TOML in front of the sizes of a tiny model.
    pub(crate) fn new(settings: &str) -> Self {
        let workplace = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let text = workplace.path("text.jsonl");
        fs::write(&text, documents()).expect("it is empty");
        let options = PrepareOptions {
            inputs: vec![text],
            out: workplace.path("data"),
            tokenizer: TokenizerSource::Train { vocab_size: 300 },
            validation: ValidationSource::Fraction(0.1),
            text_key: None,
            limit_documents: None,
        };
        prepare_data(&options, &ProgressBar::hidden()).expect("valid documents");
        fs::write(workplace.path("tiny.toml"), format!("{settings}{MODEL}")).expect("it is empty");
        workplace
    }

    /// A file or folder in here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `pretrain` on this data with these settings, into the run folder `out`.
    pub(crate) fn pretrain(&self, out: &str) -> Command {
        let mut command = example("pretrain");
        command.arg("--data").arg(self.path("data")).arg("--config").arg(self.path("tiny.toml"));
        command.arg("--out").arg(self.path(out)).args(["--device", "cpu"]);
        command
    }
}

const MODEL: &str = "
sequence_tokens = 32
eval_sequences = 4
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
";

/// Documents that are alike, so that there is something to learn, and none of them twice.
fn documents() -> String {
    let document = |i: usize| {
        let (a, b) = (i % 7, i * i % 11);
        let text = format!(
            "Chapter {i}. The sum of {a} and {b} is {}; their product is {}.",
            a + b,
            a * b
        );
        json!({ "text": text.repeat(4) }).to_string() + "\n"
    };
    (0..120).map(document).collect()
}
