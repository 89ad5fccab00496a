//! A run that is killed or stopped and resumed ends with the bytes of one that never was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tinyllama_infer::locate;
use tinyllama_train::RunFolder;

use crate::examples::{Workplace, json_lines, stdout};

const MAX_STEPS: u64 = 60;

/// Two micro-batches a step, so that gradients are accumulated; a checkpoint every 10 steps.
const SETTINGS: &str = "
max_steps = 60
warmup_steps = 5
batch_size = 32
micro_batch_size = 16
eval_every_steps = 25
save_every_steps = 10
";

/// Far more than a run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn killed_twice_and_resumed_equals_never_killed() {
    let workplace = Workplace::new(SETTINGS);
    let whole = logged_run(&workplace, "whole");
    let metrics = workplace.path("killed.jsonl");
    let checkpoints = workplace.path("killed/checkpoints");

    // Some steps after a checkpoint: they are lost and done again.
    let mut child = start(pretrain(&workplace, "killed").stdout(Stdio::null()));
    wait_until(&mut child, || last_step(&metrics) >= 24);
    kill(child, &workplace.path("killed"));
    let first = newest_step(&workplace.path("killed"));

    // While a checkpoint is written, or shortly after: where the writing is too short to be seen.
    let mut child = start(pretrain(&workplace, "killed").arg("--resume").stdout(Stdio::null()));
    wait_until(&mut child, || has_partial(&checkpoints) || last_step(&metrics) >= first + 15);
    kill(child, &workplace.path("killed"));
    let second = newest_step(&workplace.path("killed"));
    assert!(0 < first && first <= second && second < MAX_STEPS, "{first} {second}");

    stdout(pretrain(&workplace, "killed").arg("--resume"));
    assert_same_run(&workplace, "killed", &whole);
}

/// The command that a stopped run prints is all it takes.
#[cfg(unix)]
#[test]
fn stopped_by_signals_and_continued_as_told_equals_never_stopped() {
    let workplace = Workplace::new(SETTINGS);
    let whole = logged_run(&workplace, "whole");
    let metrics = workplace.path("stopped.jsonl");
    let mut command = pretrain(&workplace, "stopped");
    for (signal, step) in [("-INT", 13), ("-TERM", 31)] {
        let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        wait_until(&mut child, || last_step(&metrics) >= step);
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
        assert!(sent.expect("there is a program `kill`").success());
        let output = child.wait_with_output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{signal}: {}", output.status);
        // Stopped after whole steps, the last of which is saved; and no final line.
        let last = json_lines(&metrics).pop().expect("it has logged");
        assert_eq!(last["step"], newest_step(&workplace.path("stopped")));
        assert_eq!(last.get("event"), None);
        let continued = text.lines().find_map(|line| line.split_once("--example pretrain -- "));
        let (_, flags) = continued.unwrap_or_else(|| panic!("no command to continue in\n{text}"));
        command = crate::examples::example("pretrain");
        command.args(flags.split(' '));
    }
    stdout(&mut command);
    assert_same_run(&workplace, "stopped", &whole);
}

fn pretrain(workplace: &Workplace, run: &str) -> Command {
    let mut command = workplace.pretrain(run);
    command.arg("--metrics-out").arg(workplace.path(&format!("{run}.jsonl")));
    command
}

/// A run from beginning to end; what it logged.
fn logged_run(workplace: &Workplace, run: &str) -> Vec<Value> {
    stdout(&mut pretrain(workplace, run));
    json_lines(&workplace.path(&format!("{run}.jsonl")))
}

fn start(command: &mut Command) -> Child {
    command.spawn().expect("the example starts")
}

/// Waits for a moment in a run that is not over before it.
#[track_caller]
fn wait_until(child: &mut Child, is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        if let Some(status) = child.try_wait().expect("it was started") {
            panic!("the run ended early: {status}");
        }
        assert!(start.elapsed() < PATIENCE, "the run makes no progress");
        sleep(Duration::from_millis(1));
    }
}

/// SIGKILL; whatever it hits, the run folder stays a model.
#[track_caller]
fn kill(mut child: Child, run: &Path) {
    child.kill().expect("it runs");
    assert!(!child.wait().expect("it was started").success(), "the run had ended before the kill");
    locate(run.to_str().expect("a UTF-8 path")).expect("a complete checkpoint");
}

fn newest_step(run: &Path) -> u64 {
    let checkpoints = RunFolder::new(run).checkpoints().expect("a readable folder");
    checkpoints.first().map_or(0, |(step, _)| *step)
}

/// The step of the last whole line, 0 before there is one.
fn last_step(metrics: &Path) -> u64 {
    let text = fs::read_to_string(metrics).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let last: Option<Value> = whole.lines().last().and_then(|line| serde_json::from_str(line).ok());
    last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
}

/// Whether a checkpoint is being written.
fn has_partial(checkpoints: &Path) -> bool {
    let entries = fs::read_dir(checkpoints).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|end| end == "partial"))
}

/// The same final weights, optimizer state and log, apart from what clocks say.
#[track_caller]
fn assert_same_run(workplace: &Workplace, run: &str, whole: &[Value]) {
    let last = |run: &str| -> PathBuf {
        workplace.path(run).join(format!("checkpoints/step-{MAX_STEPS:08}"))
    };
    for file in ["model.safetensors", "trainer.safetensors"] {
        let read = |run: &str| fs::read(last(run).join(file)).expect("the run is finished");
        assert!(read(run) == read("whole"), "{file} differs");
    }
    let log = json_lines(&workplace.path(&format!("{run}.jsonl")));
    let timeless = |lines: &[Value]| -> Vec<Value> {
        let mut lines = lines.to_vec();
        for line in &mut lines {
            let line = line.as_object_mut().expect("lines are objects");
            line.retain(|key, _| !["tokens_per_s", "wall_s"].contains(&key.as_str()));
        }
        lines
    };
    let steps: Vec<_> = log.iter().map(|line| line["step"].as_u64().expect("a number")).collect();
    assert_eq!(steps, (1..=MAX_STEPS).chain([MAX_STEPS]).collect::<Vec<_>>());
    assert_eq!(timeless(&log), timeless(whole));
}
