use burn_train::Interrupter;

use super::seal::sha256;
use super::*;
use crate::monitor::Monitor;
use crate::run::{RunContext, RunOutcome, run};
use crate::trainer::tests::{ROWS, Rows, tiny_config, tiny_trainer};

fn tokenizer() -> Tokenizer {
    let texts = ["a tokenizer for tests".to_owned()];
    crate::train_bpe(&texts, crate::MIN_VOCAB_SIZE).unwrap().into()
}

fn finish(trainer: &mut Trainer<Rows>, folder: &RunFolder) -> RunOutcome {
    let held_out = [ROWS.clone().next_batch(3).unwrap()];
    let context = RunContext {
        folder,
        files: TokenizerFiles { tokenizer: &tokenizer(), chat_template: None },
        held_out: &held_out,
        peak_flops: None,
        earlier_wall_s: 0.0,
    };
    run(trainer, context, &mut Monitor::quiet(Interrupter::new(), None)).unwrap()
}

fn save(trainer: &Trainer<Rows>, folder: &RunFolder) -> PathBuf {
    let files = TokenizerFiles { tokenizer: &tokenizer(), chat_template: None };
    folder.save(trainer, files, 1.5).unwrap()
}

/// A trainer that continues from the newest whole checkpoint, and the warnings on the way to it.
fn resume(folder: &RunFolder) -> (Trainer<Rows>, Vec<String>) {
    let mut warnings = Vec::new();
    let device = Device::flex().autodiff();
    let loaded = folder.load_newest(&device, |error| warnings.push(error.to_string())).unwrap();
    let LoadedCheckpoint { state, model, moments, .. } = loaded;
    let position = state.position();
    let trainer = Trainer::resume(state.config, model, ROWS, moments, &position).unwrap();
    (trainer, warnings)
}

fn steps(folder: &RunFolder) -> Vec<u64> {
    folder.checkpoints().unwrap().into_iter().map(|(step, _)| step).collect()
}

fn bits(parameters: &FlatParameters) -> Vec<u32> {
    let values = |buffer: &Tensor<1>| buffer.to_data().iter::<f32>().collect::<Vec<_>>();
    parameters.buffers().iter().flat_map(values).map(f32::to_bits).collect()
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
    for file in ["model.safetensors", MOMENTS_FILE] {
        assert_eq!(last(&whole, file), last(&killed, file), "{file}");
    }
}

#[test]
fn a_checkpoint_is_a_model_folder_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path().join("run"));
    let mut trainer = tiny_trainer();
    trainer.step().unwrap();
    let saved = save(&trainer, &folder);
    let loaded = weights::load(&saved, &Device::flex()).unwrap();
    assert_eq!(bits(&FlatParameters::from_model(&loaded)), bits(trainer.parameters()));
    assert!(Tokenizer::from_folder(&saved).is_ok());
    assert!(saved.join("generation_config.json").exists());
    assert_eq!(fs::read_to_string(dir.path().join("run/latest")).unwrap(), "step-00000001\n");
    assert_eq!(read_state(&saved).unwrap().config, tiny_config());
}

#[test]
fn only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    folder.require_new().unwrap();
    let mut trainer = tiny_trainer();
    for _ in 0..4 {
        trainer.step().unwrap();
        save(&trainer, &folder);
    }
    assert_eq!(steps(&folder), [4, 3]);
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
    assert!(matches!(folder.require_new(), Err(TrainError::RunExists { step: 4, .. })));
}

#[test]
fn damaged_and_unfinished_checkpoints_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let mut trainer = tiny_trainer();
    trainer.step().unwrap();
    let first = save(&trainer, &folder);
    trainer.step().unwrap();
    let second = save(&trainer, &folder);
    let path = second.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let (resumed, warnings) = resume(&folder);
    assert_eq!(resumed.position().step, 1);
    assert!(warnings[0].contains("model.safetensors") && warnings[0].contains("sha256"));

    fs::remove_file(second.join(DONE_FILE)).unwrap();
    assert_eq!((steps(&folder), resume(&folder).1.len()), (vec![1], 0));
    // Saving the step anew replaces what was damaged.
    save(&trainer, &folder);
    assert_eq!((resume(&folder).0.position().step, resume(&folder).1.len()), (2, 0));

    fs::remove_file(first.join(DONE_FILE)).unwrap();
    fs::remove_file(second.join(DONE_FILE)).unwrap();
    let nothing = folder.load_newest(&Device::flex(), |_| {});
    assert!(matches!(nothing, Err(TrainError::NothingToResume { .. })));
}

/// The settings are checked against `trainer.json`, the model is built from `config.json`.
#[test]
fn both_descriptions_of_the_model_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(dir.path());
    let mut trainer = tiny_trainer();
    trainer.step().unwrap();
    let saved = save(&trainer, &folder);
    let model = ModelConfig { max_position_embeddings: 8, ..tiny_config().model };
    model.save(&saved.join("config.json")).unwrap();
    fs::remove_file(saved.join(DONE_FILE)).unwrap();
    seal(&saved).unwrap();
    let mut warnings = Vec::new();
    folder.load_newest(&Device::flex(), |error| warnings.push(error.to_string())).unwrap_err();
    assert!(warnings[0].contains("config.json: describes another model"), "{warnings:?}");
}

#[test]
fn a_changed_setting_is_named() {
    let folder = RunFolder::new("out/run");
    let saved = tiny_config();
    let given = TrainConfig { peak_lr: 0.5, save_every_steps: 9, ..saved.clone() };
    let error = folder.require_unchanged(&saved, &given).unwrap_err().to_string();
    assert!(error.contains("peak_lr is 0.5") && error.contains("with 0.003"), "{error}");
    folder
        .require_unchanged(&saved, &TrainConfig { save_every_steps: 9, ..saved.clone() })
        .unwrap();
}
