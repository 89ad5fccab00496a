//! Ids that SentencePiece, llama.cpp and transformers give.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::super::{Algorithm, Tokenizer, Vocabulary};
use super::{asset, fixture, gguf, streams};

/// Ten times what 32,000 pieces need on one slow core.
const MAX_BUILD_TIME: Duration = Duration::from_millis(500);
const LLAMA_SPM: &str = "tokenizer/ggml-vocab-llama-spm.gguf";
const LLAMA_FOLDER: &str = "tokenizer/TinyLlama-1.1B-Chat-v1.0";

/// llama.cpp's texts with the ids that the original tokenizer gives: `NAME.inp` and `NAME.out`.
fn llama_cpp(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let read =
        |end: &str| Some(fs::read_to_string(asset(&format!("{name}.{end}"))?).expect("text"));
    let (inputs, outputs) = (read("inp")?, read("out")?);
    let inputs = inputs.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    // The last text is the empty one.
    let ids = |line: &str| line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
    let vectors: Vec<_> = inputs.zip(outputs.split('\n').map(ids)).collect();
    assert_eq!((vectors.len(), outputs.split('\n').count()), (47, 47));
    Some(vectors)
}

#[track_caller]
fn gives(tokenizer: &Tokenizer, vectors: &[(String, Vec<u32>)]) {
    for (text, expected) in vectors {
        assert_eq!(&tokenizer.encode(text, false).unwrap(), expected, "{text:?}");
    }
}

fn there_and_back(tokenizer: &Tokenizer) -> (Vocabulary, Tokenizer) {
    let vocabulary = tokenizer.to_vocabulary().unwrap();
    let again = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    (vocabulary, again)
}

/// Made with SentencePiece; the same through each kind of file, there and back.
#[test]
fn llama_vectors() {
    let (Some(folder), Some(path)) = (asset(LLAMA_FOLDER), asset(LLAMA_SPM)) else { return };
    let vectors = llama_cpp(LLAMA_SPM).unwrap();
    let original = Tokenizer::from_folder(&folder).unwrap();
    let vocabulary = gguf::vocabulary(&path);
    let start = Instant::now();
    let from_gguf = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let took = start.elapsed();
    assert!(took < MAX_BUILD_TIME, "{took:?}");
    let from_model = Tokenizer::from_file(&folder.join("tokenizer.model")).unwrap();
    for tokenizer in [&original, &from_gguf, &from_model] {
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
        assert_eq!(tokenizer.vocab_size(), 32_000);
        assert!(tokenizer.adds_bos());
        gives(tokenizer, &vectors);
        for (text, ids) in &vectors {
            assert_eq!(&tokenizer.decode(ids).unwrap(), text);
            streams(tokenizer, ids);
        }
        let (_, again) = there_and_back(tokenizer);
        gives(&again, &vectors);
    }
    // Word for word the tokenizer.json that transformers made of the same tokenizer.model.
    assert_eq!(from_model.fingerprint(), original.fingerprint());
    assert_eq!(from_gguf.to_vocabulary().unwrap(), vocabulary);
}

/// Reference: SentencePiece, on texts made to be odd, with pieces of equal scores among them.
#[test]
fn sentencepiece_vectors() {
    let json = fs::read(fixture("sentencepiece.json")).unwrap();
    let all: HashMap<String, Vec<(String, Vec<u32>)>> = serde_json::from_slice(&json).unwrap();
    for (name, path) in [
        ("fixture", Some(fixture("tokenizer.model"))),
        ("llama2", asset(LLAMA_FOLDER).map(|folder| folder.join("tokenizer.model"))),
        ("stories260k", asset("model/stories260K-hf/tokenizer.model")),
    ] {
        let Some(path) = path else { continue };
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        assert!(all[name].len() > 100);
        gives(&tokenizer, &all[name]);
        let (vocabulary, again) = there_and_back(&tokenizer);
        gives(&again, &all[name]);
        assert_eq!(vocabulary, Vocabulary::from_sentencepiece(&fs::read(path).unwrap()).unwrap());
    }
}

/// The scores of a tokenizer.json are those of SentencePiece's trainer, where it chose them.
#[test]
fn ranks_become_scores() {
    let Some(folder) = asset("model/stories260K-hf") else { return };
    let model = Tokenizer::from_folder(&folder).unwrap();
    let json = Tokenizer::from_json(model.json(false).as_bytes()).unwrap();
    let (scores, ranks) = (model.to_vocabulary().unwrap(), json.to_vocabulary().unwrap());
    let mut checked = 0;
    for (trained, ranked) in scores.pieces.iter().zip(&ranks.pieces) {
        assert_eq!((&trained.text, trained.kind), (&ranked.text, ranked.kind));
        if trained.text.chars().count() > 1 {
            assert_eq!(trained.score, ranked.score, "{}", trained.text);
            checked += 1;
        }
    }
    assert!(checked > 400);
}

/// llama2.c's file holds the vocabulary of SentencePiece's.
#[test]
fn llama2c_equals_sentencepiece() {
    let Some(model) = asset("model/stories260K-hf/tokenizer.model") else { return };
    let bin = fs::read(asset("model/tok512.bin").unwrap()).unwrap();
    let from_model = Vocabulary::from_sentencepiece(&fs::read(model).unwrap()).unwrap();
    let from_bin = Vocabulary::from_llama2c(&bin, None).unwrap();
    assert_eq!(from_bin, from_model);
    assert_eq!(Vocabulary::from_llama2c(&bin, Some(512)).unwrap(), from_model);
    let from_model = Tokenizer::from_vocabulary(&from_model).unwrap();
    let from_bin = Tokenizer::from_vocabulary(&from_bin).unwrap();
    let text = fs::read_to_string(asset("corpus/tinyshakespeare.txt").unwrap()).unwrap();
    for line in text.lines() {
        let ids = from_model.encode(line, true).unwrap();
        assert_eq!(from_bin.encode(line, true).unwrap(), ids, "{line}");
        assert_eq!(from_bin.decode(&ids).unwrap(), line);
    }
}

/// Those of llama.cpp's vocabularies that are at hand.
#[test]
fn llama_cpp_vectors() {
    for name in [
        "gpt-2",
        "starcoder",
        "refact",
        "deepseek-llm",
        "deepseek-coder",
        "mpt",
        "falcon",
        "phi-3",
        "llama-bpe",
        "qwen2",
    ] {
        let name = format!("tokenizer/ggml-vocab-{name}.gguf");
        let (Some(path), Some(vectors)) = (asset(&name), llama_cpp(&name)) else { continue };
        let vocabulary = gguf::vocabulary(&path);
        let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
        gives(&tokenizer, &vectors);
        let (again, there) = there_and_back(&tokenizer);
        // Several names cut alike.
        let merges = |vocabulary: &Vocabulary| match &vocabulary.algorithm {
            Algorithm::ByteLevel { merges, .. } => merges.clone(),
            Algorithm::SentencePiece { .. } => Vec::new(),
        };
        assert_eq!(merges(&again), merges(&vocabulary));
        assert_eq!((again.bos_id, again.eos_id), (vocabulary.bos_id, vocabulary.eos_id));
        gives(&there, &vectors);
        for (_, ids) in &vectors {
            streams(&tokenizer, ids);
        }
    }
}

/// Reference: the tokenizer.json itself.
#[test]
fn smollm_there_and_back() {
    let Some(folder) = asset("model/SmolLM2-135M-Instruct") else { return };
    let original = Tokenizer::from_folder(&folder).unwrap();
    let (vocabulary, again) = there_and_back(&original);
    let Algorithm::ByteLevel { pre_tokenizer, merges } = &vocabulary.algorithm else { panic!() };
    assert_eq!((pre_tokenizer.as_str(), merges.len()), ("smollm", 48_900));
    assert_eq!(again.to_vocabulary().unwrap(), vocabulary);
    assert_eq!(again.bos_token(), Some("<|im_start|>"));
    let shakespeare = fs::read_to_string(asset("corpus/tinyshakespeare.txt").unwrap()).unwrap();
    let odd = "日本語テスト 😀👩‍👩‍👧 12345 ½ don't  \t\n\n  x=[1,2];// é\u{301}\u{0}<|im_end|>";
    let code = include_str!("../../tokenizer.rs");
    for text in shakespeare.lines().step_by(7).chain([odd, code]) {
        let ids = original.encode(text, false).unwrap();
        assert_eq!(again.encode(text, false).unwrap(), ids, "{text}");
        assert_eq!(again.decode(&ids).unwrap(), original.decode(&ids).unwrap());
    }
    let marked = "<|im_start|>user\nHi<|im_end|>\n";
    assert_eq!(
        again.encode_marked(marked, &[]).unwrap(),
        original.encode_marked(marked, &[]).unwrap()
    );
}
