//! What is written is read back, and what cannot be written is said.

use std::cell::RefCell;
use std::fs;

use bytes::Bytes;
use kernels_cubecl::Format;

use super::memory::most_held;
use crate::config::{ModelConfig, RopeScaling};
use crate::gguf::{Description, Gguf, NewTensor, write};
use crate::tokenizer::{Algorithm, Piece, PieceKind, Vocabulary};

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 6,
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: Some(16),
        max_position_embeddings: 128,
        rms_norm_eps: 1e-6,
        rope_theta: 500_000.0,
        rope_scaling: Some(RopeScaling::Linear { factor: 2.5 }),
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        other_eos_token_ids: vec![4, 3],
        pad_token_id: Some(0),
        torch_dtype: "float16".to_owned(),
        ..ModelConfig::tinyllama_1_1b()
    }
}

fn piece(text: &str, score: f32, kind: PieceKind) -> Piece {
    Piece { text: text.to_owned(), score, kind }
}

fn vocabulary() -> Vocabulary {
    Vocabulary {
        pieces: vec![
            piece("<unk>", 0.0, PieceKind::Unknown),
            piece("<s>", 0.0, PieceKind::Control),
            piece("</s>", 0.0, PieceKind::Control),
            piece("<0x0A>", 0.0, PieceKind::Byte),
            piece("▁\n\"é", -3.25, PieceKind::UserDefined),
            piece("a", -4.0, PieceKind::Normal),
        ],
        algorithm: Algorithm::SentencePiece { add_space_prefix: false },
        bos_id: Some(1),
        eos_id: Some(2),
        pad_id: Some(0),
        add_bos: true,
    }
}

fn description<'a>(config: &'a ModelConfig, vocabulary: &'a Vocabulary) -> Description<'a> {
    Description {
        config,
        vocabulary: Some(vocabulary),
        chat_template: Some("{{ messages }}\n"),
        name: Some("A model, «named»"),
        file_type: Format::F16,
    }
}

/// A tensor whose bytes are all `fill`.
fn tensor(name: &str, shape: &[usize], format: Format, fill: u8) -> NewTensor<'static> {
    let (columns, rows) = shape.split_last().unwrap_or((&0, &[]));
    let len = format.row_bytes(*columns).unwrap_or(0) * rows.iter().product::<usize>();
    NewTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        format,
        bytes: Box::new(move || Bytes::from(vec![fill; len])),
    }
}

/// Writes and reads back.
fn round_trip(description: &Description<'_>, tensors: Vec<NewTensor<'_>>) -> Gguf {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(&path, description, tensors).unwrap();
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names == [path.as_path()], "something else is left: {names:?}");
    Gguf::open(&path).unwrap()
}

/// The message of writing what cannot be written, which leaves no file behind.
#[track_caller]
fn refused(description: &Description<'_>, tensors: Vec<NewTensor<'_>>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let error = write(&path, description, tensors).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())), "no file is named: {error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a file is left");
    error
}

#[test]
fn everything_is_read_back() {
    let (config, vocabulary) = (config(), vocabulary());
    let shapes: [(&str, &[usize], Format); 6] = [
        ("token_embd.weight", &[6, 64], Format::F16),
        ("blk.0.attn_q.weight", &[64, 64], Format::Q4_0),
        ("blk.0.attn_norm.weight", &[64], Format::F32),
        ("a", &[3], Format::F32), // 12 bytes, so that padding follows.
        ("blk.0.ffn_down.weight", &[2, 3, 4, 256], Format::Q6K),
        ("last", &[1], Format::Bf16),
    ];
    let tensors = shapes.iter().enumerate();
    let tensors =
        tensors.map(|(index, (name, shape, format))| tensor(name, shape, *format, index as u8 + 1));
    let gguf = round_trip(&description(&config, &vocabulary), tensors.collect());
    assert_eq!(gguf.config().unwrap(), config);
    assert_eq!(gguf.vocabulary().unwrap(), vocabulary);
    assert_eq!(gguf.chat_template(), Some("{{ messages }}\n"));
    assert_eq!(gguf.eos_token_ids().unwrap(), [2, 4, 3]);
    assert_eq!(gguf.tensors().len(), shapes.len());
    for (index, (found, (name, shape, format))) in gguf.tensors().iter().zip(shapes).enumerate() {
        assert_eq!(
            (found.name.as_str(), found.shape.as_slice(), found.format),
            (name, shape, format)
        );
        assert!(found.bytes.iter().all(|&byte| byte == index as u8 + 1), "{name}");
    }
    let metadata = gguf.metadata();
    assert_eq!(metadata.string("general.name").unwrap(), Some("A model, «named»"));
    assert_eq!(metadata.string("general.size_label").unwrap(), Some("62K"));
    assert_eq!(metadata.unsigned("general.file_type", 99).unwrap(), Some(1));
    assert_eq!(metadata.unsigned("tokenizer.ggml.unknown_token_id", 9).unwrap(), Some(0));
}

#[test]
fn byte_pairs_and_the_presets_are_read_back() {
    let byte_level = Vocabulary {
        algorithm: Algorithm::ByteLevel {
            merges: vec!["Ġ a".to_owned(), "a b".to_owned()],
            pre_tokenizer: "smollm".to_owned(),
        },
        pieces: vec![piece("<|end|>", 0.0, PieceKind::Control), piece("Ġ", 0.0, PieceKind::Normal)],
        bos_id: None,
        eos_id: Some(0),
        pad_id: None,
        add_bos: false,
    };
    for config in [ModelConfig::demo(), ModelConfig::code_tinyllama_1b()] {
        let config =
            ModelConfig { vocab_size: 2, bos_token_id: None, eos_token_id: None, ..config };
        let gguf = round_trip(&description(&config, &byte_level), Vec::new());
        assert_eq!(gguf.vocabulary().unwrap(), byte_level);
        let expected = ModelConfig {
            eos_token_id: Some(0),     // The vocabulary's.
            tie_word_embeddings: true, // Of a file without tensors.
            torch_dtype: "float16".to_owned(),
            ..config
        };
        assert_eq!(gguf.config().unwrap(), expected);
    }
}

#[test]
fn a_smaller_vocabulary_is_filled_up() {
    let (config, vocabulary) = (ModelConfig { vocab_size: 8, ..config() }, vocabulary());
    let found = round_trip(&description(&config, &vocabulary), Vec::new()).vocabulary().unwrap();
    assert_eq!(found.pieces[..6], vocabulary.pieces);
    assert_eq!(
        found.pieces[6..],
        [6, 7].map(|id| piece(&format!("[PAD{id}]"), -1000.0, PieceKind::Unused))
    );
}

#[test]
fn a_description_that_gguf_cannot_express_is_refused() {
    let (good, vocabulary) = (config(), vocabulary());
    let cases = [
        (
            ModelConfig { num_key_value_heads: 3, ..good.clone() },
            "`num_key_value_heads` is 3, but must be a divisor",
        ),
        (
            ModelConfig { rms_norm_eps: 1e-50, ..good.clone() },
            "`llama.attention.layer_norm_rms_epsilon` is 0.00",
        ),
        (
            ModelConfig { rope_theta: 1e39, ..good.clone() },
            "but must be within the range of a 32-bit float",
        ),
        (
            ModelConfig { vocab_size: 5, ..good.clone() },
            "`tokenizer.ggml.tokens` is a list of 6 pieces, but must be at most vocab_size = 5 long",
        ),
    ];
    for (config, words) in &cases {
        let message = refused(&description(config, &vocabulary), Vec::new());
        assert!(message.contains(words), "`{message}` does not contain `{words}`");
    }
    let foreign = Vocabulary { eos_id: Some(6), ..vocabulary };
    let message = refused(&description(&good, &foreign), Vec::new());
    assert!(
        message.contains("`tokenizer.ggml.eos_token_id` is 6, but must be smaller"),
        "{message}"
    );
}

#[test]
fn tensors_that_break_the_rules_are_refused() {
    let (config, vocabulary) = (config(), vocabulary());
    let one = |name: &str, shape: &[usize], format| vec![tensor(name, shape, format, 0)];
    let twice = || [one("a", &[1], Format::F32), one("a", &[2], Format::F32)];
    let cases = [
        (one("", &[1], Format::F32), "tensor `` has a name of 0 bytes"),
        (one(&"n".repeat(64), &[1], Format::F32), "has a name of 64 bytes, not 1 to 63"),
        (one("a", &[], Format::F32), "tensor `a` has 0 dimensions"),
        (one("a", &[1; 5], Format::F32), "tensor `a` has 5 dimensions, not 1 to 4"),
        (one("a", &[2, 0], Format::F32), "tensor `a` has no elements: its shape is [2, 0]"),
        (
            one("a", &[64, 172], Format::Q8_0),
            "rows of 172 elements, no whole number of Q8_0's blocks of 32; write it in another",
        ),
        (twice().into_iter().flatten().collect(), "tensor `a` is there twice"),
    ];
    for (tensors, words) in cases {
        let message = refused(&description(&config, &vocabulary), tensors);
        assert!(message.contains(words), "`{message}` does not contain `{words}`");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (config, vocabulary) = (config(), vocabulary());
    for path in [dir.path().join("absent/m.gguf"), dir.path().join("..")] {
        let error = write(&path, &description(&config, &vocabulary), Vec::new()).unwrap_err();
        let words = format!("{}: cannot write the GGUF file: ", path.display());
        assert!(error.to_string().starts_with(&words), "{error}");
    }
}

#[test]
fn an_earlier_file_stays_until_the_new_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    fs::write(&path, "earlier").unwrap();
    let (config, vocabulary) = (config(), vocabulary());
    let at_work = |bytes: &'static str| {
        let mut tensor = tensor("a", &[1], Format::F32, 0);
        let path = path.clone();
        tensor.bytes = Box::new(move || {
            assert_eq!(fs::read(&path).unwrap(), b"earlier");
            Bytes::from(bytes)
        });
        vec![tensor]
    };
    // A provider that breaks its word panics; the file beside is deleted even so.
    let broken = std::panic::catch_unwind(|| {
        write(&path, &description(&config, &vocabulary), at_work("123"))
    });
    assert!(broken.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"earlier");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    write(&path, &description(&config, &vocabulary), at_work("1234")).unwrap();
    assert_eq!(Gguf::open(&path).unwrap().tensors()[0].bytes, "1234");
}

#[test]
fn one_tensor_is_in_memory_at_a_time() {
    const LEN: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let (config, vocabulary) = (config(), vocabulary());
    let order = RefCell::new(Vec::new());
    let tensors = (0..16).map(|index| NewTensor {
        name: format!("t{index}"),
        shape: vec![LEN / 4],
        format: Format::F32,
        bytes: Box::new(|| {
            order.borrow_mut().push(());
            Bytes::from(vec![0; LEN])
        }),
    });
    let tensors = tensors.collect();
    let held = most_held(|| write(&path, &description(&config, &vocabulary), tensors).unwrap());
    assert!((LEN..2 * LEN).contains(&held), "{held} bytes were held at a time");
    assert_eq!(order.borrow().len(), 16);
    assert!(fs::metadata(&path).unwrap().len() > 16 * LEN as u64);
}
