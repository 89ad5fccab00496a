use serde_json::json;

use super::super::tests::{byte_level, fixture};
use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn with_model(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = folder(files);
    fs::copy(fixture("tokenizer.model"), folder.path().join("tokenizer.model")).unwrap();
    folder
}

#[test]
fn the_first_file_that_is_there_is_read() {
    let folder = with_model(&[("tokenizer.bin", "broken")]);
    let model = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(model.vocab_size(), 400);
    assert_eq!((model.bos_id(), model.eos_id()), (Some(1), Some(2)));
    byte_level(&["<s>"]).save(folder.path(), None).unwrap();
    assert_eq!(Tokenizer::from_folder(folder.path()).unwrap().vocab_size(), 257);

    // What is saved is read back without the tokenizer.model.
    let saved = self::folder(&[]);
    model.save(saved.path(), None).unwrap();
    let read = Tokenizer::from_folder(saved.path()).unwrap();
    assert_eq!(read.fingerprint(), model.fingerprint());
    assert!(read.adds_bos());
}

#[test]
fn a_folder_without_a_tokenizer_says_what_it_looks_for() {
    let error = Tokenizer::from_folder(folder(&[]).path()).unwrap_err().to_string();
    for name in ["tokenizer.json", "tokenizer.model", "tokenizer.bin"] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn broken_files_are_named() {
    for name in ["tokenizer.json", "tokenizer.model", "tokenizer.bin"] {
        for content in ["", "broken", "\u{0}\u{0}\u{0}\u{0}"] {
            let folder = folder(&[(name, content)]);
            let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
            let path = folder.path().join(name);
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert_eq!(Tokenizer::from_file(&path).unwrap_err().to_string(), error);
        }
    }
    let error = Tokenizer::from_file(Path::new("/nowhere/tokenizer.model")).unwrap_err();
    assert!(matches!(error, TokenizerError::Read { .. }), "{error}");
}

#[test]
fn the_settings_of_a_tokenizer_model_are_heeded() {
    let config = json!({"add_bos_token": false, "eos_token": "<s>"}).to_string();
    let tokenizer = Tokenizer::from_folder(with_model(&[(CONFIG_FILE, &config)]).path()).unwrap();
    assert!(!tokenizer.adds_bos());
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(1)));

    let added = json!({"[PAD]": 400, "<|im_end|>": 401, "</s>": 2}).to_string();
    let config = json!({"added_tokens_decoder": {
        "1": {"content": "<s>", "special": true},
        "401": {"content": "<|im_end|>", "special": true},
        "400": {"content": "[PAD]", "special": false},
    }})
    .to_string();
    for (file, content, special) in [(ADDED_FILE, added, true), (CONFIG_FILE, config, false)] {
        let folder = with_model(&[(file, content.as_str())]);
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 402);
        assert_eq!(tokenizer.token_to_id("[PAD]"), Some(400));
        assert!(tokenizer.is_special(401) && tokenizer.is_special(400) == special);
    }
    for added in [json!({"[PAD]": 401}), json!({"[PAD]": 2}), json!({"[PAD]": u64::MAX})] {
        let folder = with_model(&[(ADDED_FILE, &added.to_string())]);
        let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(ADDED_FILE) && error.contains("[PAD]"), "{error}");
    }
}
