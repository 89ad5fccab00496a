use burn::tensor::{Device, Tensor};
use burn_train::Interrupter;
use tinyllama_model::{FlatParameters, Tokenizer, weights};

use super::*;
use crate::disk::sha256;
use crate::metrics::MetricsFile;
use crate::monitor::Monitor;
use crate::run::{RunContext, RunOutcome, run};
use crate::trainer::tests::{ROWS, Rows, tiny_config, tiny_trainer};

fn tokenizer() -> Tokenizer {
    let texts = ["a tokenizer for tests".to_owned()];
    crate::train_bpe(&texts, crate::MIN_VOCAB_SIZE).unwrap().into()
}

/// Trains until the monitor's interrupter or the last step ends it.
fn run_with(
    trainer: &mut Trainer<Rows>,
    folder: &RunFolder,
    mut monitor: Monitor,
) -> Result<RunOutcome, TrainError> {
    let held_out = [ROWS.clone().next_batch(3).unwrap()];
    let context = RunContext {
        folder,
        files: TokenizerFiles { tokenizer: &tokenizer(), chat_template: None },
        held_out: &held_out,
        peak_flops: None,
        earlier_wall_s: 0.0,
    };
    run(trainer, context, &mut monitor)
}

fn finish(trainer: &mut Trainer<Rows>, folder: &RunFolder) -> RunOutcome {
    run_with(trainer, folder, Monitor::quiet(Interrupter::new(), None)).unwrap()
}

fn save(trainer: &Trainer<Rows>, folder: &RunFolder) -> PathBuf {
    let files = TokenizerFiles { tokenizer: &tokenizer(), chat_template: None };
    folder.save(trainer, files, 1.5).unwrap()
}

/// A trainer that continues from the newest whole checkpoint, and the warnings on the way to it.
fn resume(folder: &RunFolder) -> (Trainer<Rows>, Vec<String>) {
    let mut warnings = Vec::new();
    let checkpoint = folder.newest(|error| warnings.push(error.to_string())).unwrap();
    let (config, device) = (checkpoint.state.config.clone(), Device::flex().autodiff());
    (Trainer::resume(config, ROWS, &checkpoint, &device).unwrap(), warnings)
}

fn steps(folder: &RunFolder) -> Vec<u64> {
    folder.checkpoints().unwrap().into_iter().map(|(step, _)| step).collect()
}

fn bits(parameters: &FlatParameters) -> Vec<u32> {
    let values = |buffer: &Tensor<1>| buffer.to_data().iter::<f32>().collect::<Vec<_>>();
    parameters.buffers().iter().flat_map(values).map(f32::to_bits).collect()
}

/// Makes `num_steps` steps, each saved.
fn saved_steps(folder: &RunFolder, num_steps: u64) -> Trainer<Rows> {
    let mut trainer = tiny_trainer();
    for _ in 0..num_steps {
        trainer.step().unwrap();
        save(&trainer, folder);
    }
    trainer
}

fn damage(checkpoint: &Path) {
    let path = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn kill_and_resume_equals_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) =
        (RunFolder::new(dir.path().join("a")), RunFolder::new(dir.path().join("b")));
    let outcome = finish(&mut tiny_trainer(), &whole);
    assert_eq!((outcome.step, outcome.tokens, outcome.is_finished), (6, 288, true));

    let mut trainer = tiny_trainer();
    (0..3).for_each(|_| _ = trainer.step().unwrap());
    save(&trainer, &killed);
    // Steps after the checkpoint are lost with the process.
    trainer.step().unwrap();
    drop(trainer);
    let (mut resumed, warnings) = resume(&killed);
    assert_eq!((resumed.position().step, warnings.len()), (3, 0));
    assert_eq!(finish(&mut resumed, &killed).val_loss, outcome.val_loss);

    let last = |run: &RunFolder, file| sha256(&run.checkpoints().unwrap()[0].1.join(file)).unwrap();
    for file in ["model.safetensors", "trainer.safetensors"] {
        assert_eq!(last(&whole, file), last(&killed, file), "{file}");
    }
}

#[test]
fn a_checkpoint_is_a_model_folder_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path().join("run"));
    let trainer = saved_steps(&folder, 1);
    let checkpoint = folder.newest(|_| {}).unwrap();
    let loaded = weights::load(&checkpoint.folder, &Device::flex()).unwrap();
    assert_eq!(bits(&FlatParameters::from_model(&loaded)), bits(trainer.parameters()));
    assert!(Tokenizer::from_folder(&checkpoint.folder).is_ok());
    assert!(checkpoint.folder.join("generation_config.json").exists());
    assert_eq!(fs::read_to_string(dir.path().join("run/latest")).unwrap(), "step-00000001\n");
    assert_eq!(checkpoint.state.config, tiny_config());
}

#[test]
fn only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    folder.require_new().unwrap();
    // What a kill left of another step's checkpoint.
    let partial = dir.path().join("checkpoints/.step-00000002.partial");
    saved_steps(&folder, 2);
    fs::create_dir_all(&partial).unwrap();
    saved_steps(&folder, 4);
    assert_eq!(steps(&folder), [4, 3]);
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
    assert!(matches!(folder.require_new(), Err(TrainError::RunExists { step: 4, .. })));
}

#[test]
fn damaged_checkpoints_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    saved_steps(&folder, 4);
    damage(&dir.path().join("checkpoints/step-00000004"));
    let (mut resumed, warnings) = resume(&folder);
    assert_eq!((resumed.position().step, steps(&folder)), (3, vec![3]));
    assert!(warnings[0].contains("model.safetensors") && warnings[0].contains("sha256"));
    assert_eq!(resume(&folder).1.len(), 0);
    assert!(dir.path().join("checkpoints/step-00000004.damaged").exists());
    assert_eq!(fs::read_to_string(dir.path().join("latest")).unwrap(), "step-00000003\n");
    // The step done anew stands beside it, and it counts for nothing.
    resumed.step().unwrap();
    save(&resumed, &folder);
    assert_eq!(steps(&folder), [4, 3]);

    let missing = dir.path().join("checkpoints/step-00000004/trainer.safetensors");
    fs::remove_file(missing).unwrap();
    damage(&dir.path().join("checkpoints/step-00000003"));
    let mut warnings = Vec::new();
    let nothing = folder.newest(|error| warnings.push(error.to_string()));
    assert!(matches!(nothing, Err(TrainError::NothingToResume { .. })));
    assert!(warnings[0].contains("trainer.safetensors: is listed in DONE, but missing"));
    folder.require_new().unwrap();
}

#[test]
fn a_save_deletes_no_checkpoint_of_a_later_step() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let early = {
        let mut trainer = tiny_trainer();
        trainer.step().unwrap();
        trainer
    };
    saved_steps(&folder, 4);
    save(&early, &folder);
    assert_eq!(steps(&folder), [4, 3, 1]);
}

/// A marker alone makes a checkpoint complete.
#[test]
fn unfinished_checkpoints_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let trainer = saved_steps(&folder, 2);
    fs::remove_file(dir.path().join("checkpoints/step-00000002/DONE")).unwrap();
    assert_eq!(resume(&folder).0.position().step, 1);
    save(&trainer, &folder);
    assert_eq!((resume(&folder).0.position().step, steps(&folder)), (2, vec![2, 1]));
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
}

#[test]
fn a_stop_saves_what_was_done_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let stopped = || {
        let interrupter = Interrupter::new();
        interrupter.stop(None);
        Monitor::quiet(interrupter, None)
    };
    let mut trainer = saved_steps(&folder, 2);
    let done = dir.path().join("checkpoints/step-00000002/DONE");
    let written = || fs::metadata(&done).unwrap().modified().unwrap();
    let before = written();
    run_with(&mut trainer, &folder, stopped()).unwrap();
    assert_eq!((steps(&folder), written()), (vec![2, 1], before));
}

/// Of a run that fails, no step is done twice.
#[test]
fn a_failed_step_leaves_a_checkpoint_of_the_steps_before() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path().join("run"));
    let mut trainer = tiny_trainer();
    trainer.step().unwrap();
    // A log that cannot be written ends the run after the second step.
    let full = MetricsFile::read_only(&dir.path().join("log.jsonl"));
    let monitor = Monitor::quiet(Interrupter::new(), Some(full));
    let error = run_with(&mut trainer, &folder, monitor).unwrap_err();
    assert!(matches!(error, TrainError::Write { .. }), "{error}");
    assert_eq!(steps(&folder), [2]);
    assert_eq!(bits(resume(&folder).0.parameters()), bits(trainer.parameters()));
}

/// The checkpoint before the break is the place to go on from, with settings that break less.
#[test]
fn a_run_that_broke_down_goes_on_with_a_lower_learning_rate() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    saved_steps(&folder, 1);
    let go_on = |peak_lr: f64| {
        let checkpoint = folder.newest(|_| {}).unwrap();
        let config =
            TrainConfig { peak_lr, save_every_steps: 6, ..checkpoint.state.config.clone() };
        let changes = folder.require_unchanged(&checkpoint.state.config, &config).unwrap();
        let device = Device::flex().autodiff();
        let mut trainer = Trainer::resume(config, ROWS, &checkpoint, &device).unwrap();
        (changes.len(), run_with(&mut trainer, &folder, Monitor::quiet(Interrupter::new(), None)))
    };
    let (num_changes, outcome) = go_on(1e30);
    assert_eq!(num_changes, 1);
    assert!(matches!(outcome, Err(TrainError::NotFinite { step: 3, .. })), "{outcome:?}");
    assert_eq!(steps(&folder), [1]);
    let (_, outcome) = go_on(1e-3);
    assert!(outcome.unwrap().is_finished);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path().join("run"));
    let lock = folder.lock().unwrap();
    assert!(matches!(folder.lock(), Err(TrainError::RunBusy { .. })));
    drop(lock);
    folder.lock().unwrap();
}

#[test]
fn a_changed_setting_is_named() {
    let folder = RunFolder::new("out/run");
    let saved = tiny_config();
    let given = TrainConfig { weight_decay: 0.5, save_every_steps: 9, ..saved.clone() };
    let error = folder.require_unchanged(&saved, &given).unwrap_err().to_string();
    assert!(error.contains("weight_decay is 0.5") && error.contains("with 0.1"), "{error}");
    let given = TrainConfig { peak_lr: 0.5, save_every_steps: 9, ..saved.clone() };
    let changes = folder.require_unchanged(&saved, &given).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].to_string(), "peak_lr is 0.5, not 0.003");
}
