//! The vocabulary that the metadata hold.

use super::builder::{File, UINT64};
use super::{assert_vocabulary_refused, open, refused};
use crate::tokenizer::{Algorithm, Piece, PieceKind, Vocabulary};

fn vocabulary(file: &File) -> Vocabulary {
    open(file.bytes()).unwrap().vocabulary().unwrap()
}

fn byte_level() -> File {
    let mut file = File::llama();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
    file.strings("tokenizer.ggml.tokens", &["<|end|>", "Ġ", "a", "Ġa"]);
    file.strings("tokenizer.ggml.merges", &["Ġ a"])
        .int32s("tokenizer.ggml.token_type", &[3, 1, 1, 4]);
    file.without("tokenizer.ggml.scores").without("tokenizer.ggml.bos_token_id");
    file.uint32("tokenizer.ggml.eos_token_id", 0).uint32("tokenizer.ggml.padding_token_id", 0);
    file
}

#[test]
fn sentence_piece() {
    let piece = |text: &str, score, kind| Piece { text: text.to_owned(), score, kind };
    let expected = Vocabulary {
        pieces: vec![
            piece("<unk>", 0.0, PieceKind::Unknown),
            piece("<s>", 0.0, PieceKind::Control),
            piece("</s>", 0.0, PieceKind::Control),
            piece("▁a", -1.5, PieceKind::Normal),
        ],
        algorithm: Algorithm::SentencePiece { add_space_prefix: true },
        bos_id: Some(1),
        eos_id: Some(2),
        pad_id: None,
        add_bos: true,
    };
    let mut file = File::llama();
    assert_eq!(vocabulary(&file), expected);
    file.bool("tokenizer.ggml.add_space_prefix", 0).bool("tokenizer.ggml.add_bos_token", 0);
    file.int32s("tokenizer.ggml.token_type", &[6, 5, 4, 0]);
    let changed = vocabulary(&file);
    assert_eq!(changed.algorithm, Algorithm::SentencePiece { add_space_prefix: false });
    assert!(!changed.add_bos);
    let kinds: Vec<_> = changed.pieces.iter().map(|piece| piece.kind).collect();
    let [byte, unused, user] = [PieceKind::Byte, PieceKind::Unused, PieceKind::UserDefined];
    assert_eq!(kinds, [byte, unused, user, PieceKind::Normal]);
}

#[test]
fn byte_pairs() {
    let found = vocabulary(&byte_level());
    let merges = vec!["Ġ a".to_owned()];
    assert_eq!(
        found.algorithm,
        Algorithm::ByteLevel { merges, pre_tokenizer: "smollm".to_owned() }
    );
    let texts: Vec<_> = found.pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["<|end|>", "Ġ", "a", "Ġa"]);
    assert_eq!((found.bos_id, found.eos_id, found.pad_id), (None, Some(0), Some(0)));
    assert!(!found.add_bos && found.pieces.iter().all(|piece| piece.score == 0.0));
}

#[test]
fn defaults_are_those_of_llama_cpp() {
    let mut file = byte_level();
    file.string("tokenizer.ggml.pre", "llama-bpe");
    assert!(vocabulary(&file).add_bos);
    file.without("tokenizer.ggml.pre").without("tokenizer.ggml.token_type");
    let found = vocabulary(&file);
    let Algorithm::ByteLevel { pre_tokenizer, .. } = found.algorithm else { panic!("byte pairs") };
    assert_eq!((pre_tokenizer.as_str(), found.add_bos), ("default", false));
    assert!(found.pieces.iter().all(|piece| piece.kind == PieceKind::Normal));
}

#[test]
fn ends_of_sequences_and_turns_each_once() {
    let mut file = byte_level();
    file.uint32("tokenizer.ggml.eot_token_id", 3).uint32("tokenizer.ggml.eom_token_id", 3);
    assert_eq!(open(file.bytes()).unwrap().eos_token_ids().unwrap(), [0, 3]);
    file.uint32("tokenizer.ggml.eot_token_id", 4);
    let gguf = open(file.bytes()).unwrap();
    let message = refused(|| gguf.eos_token_ids());
    assert!(message.contains("`tokenizer.ggml.eot_token_id` is 4, but must be an id"), "{message}");
}

#[test]
fn vocabularies_that_are_refused() {
    type Case = (&'static str, fn(&mut File) -> &mut File, &'static str);
    let cases: [Case; 12] = [
        ("model", |file| file.without("tokenizer.ggml.model"), "`tokenizer.ggml.model` is missing"),
        (
            "other model",
            |file| file.string("tokenizer.ggml.model", "bert"),
            "`tokenizer.ggml.model` is `bert`, which is not supported: `llama` (SentencePiece) and",
        ),
        (
            "tokens",
            |file| file.without("tokenizer.ggml.tokens"),
            "`tokenizer.ggml.tokens` is missing",
        ),
        ("no tokens", |file| file.strings("tokenizer.ggml.tokens", &[]), "an id of the vocabulary"),
        (
            "scores",
            |file| file.without("tokenizer.ggml.scores"),
            "`tokenizer.ggml.scores` is missing",
        ),
        (
            "few scores",
            |file| file.floats("tokenizer.ggml.scores", &[0.0; 3]),
            "`tokenizer.ggml.scores` is a list of 3, but must be 4 long",
        ),
        (
            "NaN",
            |file| file.floats("tokenizer.ggml.scores", &[0.0, 0.0, f32::NAN, 0.0]),
            "`tokenizer.ggml.scores` is NaN for token 2, but must be finite",
        ),
        (
            "kind",
            |file| file.int32s("tokenizer.ggml.token_type", &[1, 7, 1, 1]),
            "`tokenizer.ggml.token_type` is 7 for token 1, but must be between 0 and 6",
        ),
        (
            "many kinds",
            |file| file.int32s("tokenizer.ggml.token_type", &[1; 5]),
            "`tokenizer.ggml.token_type` is a list of 5, but must be 4 long",
        ),
        (
            "merges",
            |file| file.string("tokenizer.ggml.model", "gpt2"),
            "`tokenizer.ggml.merges` is missing",
        ),
        (
            "id",
            |file| file.set("tokenizer.ggml.bos_token_id", UINT64, vec![0, 0, 0, 0, 1, 0, 0, 0]),
            "`tokenizer.ggml.bos_token_id` is 4294967296, but must be an id",
        ),
        (
            "type of a switch",
            |file| file.uint32("tokenizer.ggml.add_bos_token", 1),
            "`tokenizer.ggml.add_bos_token` is the integer 1, but must be a bool",
        ),
    ];
    for (case, change, words) in cases {
        let mut file = File::llama();
        change(&mut file);
        assert_vocabulary_refused(case, &file, words);
    }
    let mut empty = File::llama();
    empty.strings("tokenizer.ggml.tokens", &[]);
    empty.without("tokenizer.ggml.bos_token_id").without("tokenizer.ggml.eos_token_id");
    assert_vocabulary_refused("empty", &empty, "a list of 0 tokens, but must be 1 to 1048576 long");
}
