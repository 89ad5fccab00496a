use std::fs;

use super::*;
use crate::dataset::TOKENIZER_FILE;
use crate::shards::TokenShards;

/// 60 documents, one a line, each with a number and text that spells the end token.
fn input(dir: &Path) -> PathBuf {
    let path = dir.join("in.jsonl");
    let rows = (0..60).map(|i| format!("{{\"text\": \"document {i} </s> größe\"}}\n"));
    fs::write(&path, rows.collect::<String>()).unwrap();
    path
}

fn options(dir: &Path, out: &str) -> PrepareOptions {
    PrepareOptions {
        inputs: vec![input(dir)],
        validation: ValidationSource::Fraction(0.1),
        tokenizer: TokenizerSource::Train { vocab_size: 280 },
        text_key: None,
        limit_documents: None,
        out: dir.join(out),
    }
}

fn prepare(options: &PrepareOptions) -> Result<PreparedData, DataError> {
    prepare_data(options, &ProgressBar::hidden())
}

/// The documents of a split, decoded.
fn documents(folder: &Path, split: Split) -> Vec<String> {
    let shards = TokenShards::open(folder, split).unwrap();
    let mut tokens = Vec::new();
    shards.read(0, shards.size().num_tokens as usize, &mut tokens).unwrap();
    let eos_id = shards.format().eos_id.unwrap();
    assert_eq!(tokens.last(), Some(&eos_id));
    tokens.pop();
    let tokenizer = tokenizers::Tokenizer::from_file(folder.join(TOKENIZER_FILE)).unwrap();
    let documents = tokens.split(|&token| token == eos_id);
    documents.map(|tokens| tokenizer.decode(tokens, false).unwrap()).collect()
}

#[test]
fn every_document_is_in_one_split_and_decodes_to_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), "out");
    let prepared = prepare(&options).unwrap();
    let sizes = (prepared.description.train, prepared.description.validation);
    assert_eq!((sizes.0.num_documents, sizes.1.num_documents), (54, 6));
    let validation = documents(&options.out, Split::Validation);
    let expected: Vec<_> = (0..6).map(|i| format!("document {} </s> größe", 10 * i + 4)).collect();
    assert_eq!(validation, expected);
    let mut all = documents(&options.out, Split::Train);
    let bytes: usize = all.iter().map(String::len).sum();
    assert_eq!(sizes.0.text_bytes, bytes as u64);
    all.extend(validation);
    all.sort();
    let mut expected: Vec<_> = (0..60).map(|i| format!("document {i} </s> größe")).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn a_trained_tokenizer_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = options(dir.path(), "first");
    prepare(&first).unwrap();
    let tokenizer = TokenizerSource::Path(first.out.join(TOKENIZER_FILE));
    let second = PrepareOptions { tokenizer, ..options(dir.path(), "second") };
    prepare(&second).unwrap();
    for name in ["train_00000.bin", "validation_00000.bin", "tokenizer.json", "dataset.json"] {
        let bytes = |out: &Path| fs::read(out.join(name)).unwrap();
        assert_eq!(bytes(&first.out), bytes(&second.out), "{name}");
    }
}

#[test]
fn validation_files_and_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let held_out = dir.path().join("held_out.txt");
    fs::write(&held_out, "held out").unwrap();
    let options = PrepareOptions {
        validation: ValidationSource::Paths(vec![held_out]),
        limit_documents: Some(7),
        ..options(dir.path(), "out")
    };
    prepare(&options).unwrap();
    assert_eq!(documents(&options.out, Split::Train).len(), 7);
    assert_eq!(documents(&options.out, Split::Validation), ["held out"]);
}

#[test]
fn mistakes_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.jsonl");
    fs::write(&bad, "{\"body\": \"x\"}\n{}\n").unwrap();
    let usual = || options(dir.path(), "out");
    let fraction = |value| ValidationSource::Fraction(value);
    let cases: [(PrepareOptions, &str); 6] = [
        (PrepareOptions { inputs: vec![bad], ..usual() }, "every one of the 2 rows is bad"),
        (PrepareOptions { validation: fraction(1.0), ..usual() }, "fraction is 1, but"),
        (PrepareOptions { validation: fraction(f64::NAN), ..usual() }, "fraction is NaN, but"),
        (
            PrepareOptions { validation: fraction(0.001), ..usual() },
            "raise the validation fraction",
        ),
        (PrepareOptions { tokenizer: TokenizerSource::Train { vocab_size: 9 }, ..usual() }, "258"),
        (
            PrepareOptions { tokenizer: TokenizerSource::Path(input(dir.path())), ..usual() },
            "in.jsonl",
        ),
    ];
    let before = fs::read_dir(dir.path()).unwrap().count();
    for (options, words) in cases {
        let error = prepare(&options).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "{words}");
    }
}
