//! Files that llama.cpp's converter wrote, where they are found.

use std::io::{self, Write};
use std::path::PathBuf;

use kernels_cubecl::Format;

use crate::config::ModelConfig;
use crate::gguf::Gguf;
use crate::tokenizer::tests::asset;
use crate::tokenizer::{Algorithm, PieceKind};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// SmolLM2-135M-Instruct in Q4_1: `TINYLLAMA_SMOLLM2`, else where `scripts/get-smollm2.sh` puts it.
/// `None`, with a line that says so, where it is absent.
fn smollm2() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let in_cache = || {
        let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        Some(cache.join("tinyllama").join(SMOLLM2))
    };
    let path = folder("TINYLLAMA_SMOLLM2").or_else(in_cache)?;
    if path.exists() {
        return Some(path);
    }
    // Not through println!, which a passing test hides.
    writeln!(io::stderr(), "skipped: {} is absent (see TINYLLAMA_SMOLLM2)", path.display()).ok();
    None
}

#[test]
fn llama_2_has_32000_pieces() {
    let Some(path) = asset("tokenizer/ggml-vocab-llama-spm.gguf") else { return };
    let gguf = Gguf::open(&path).unwrap();
    let vocabulary = gguf.vocabulary().unwrap();
    assert_eq!(vocabulary.pieces.len(), 32_000);
    assert_eq!(vocabulary.algorithm, Algorithm::SentencePiece { add_space_prefix: true });
    let piece = |id: usize| (vocabulary.pieces[id].text.as_str(), vocabulary.pieces[id].kind);
    assert_eq!(piece(0), ("<unk>", PieceKind::Unknown));
    assert_eq!(piece(1), ("<s>", PieceKind::Control));
    assert_eq!(piece(258), ("<0xFF>", PieceKind::Byte));
    assert_eq!(piece(259), ("▁▁", PieceKind::Normal));
    assert_eq!(vocabulary.pieces[259].score, -1e9);
    assert_eq!(vocabulary.pieces[31_999].score, -31_740.0);
    assert_eq!((vocabulary.bos_id, vocabulary.eos_id), (Some(1), Some(2)));
    assert!(vocabulary.add_bos);
    let config = gguf.config().unwrap();
    assert_eq!((config.vocab_size, config.hidden_size, config.head_dim()), (32_000, 4096, 128));
}

#[test]
fn smollm2_is_what_its_config_says() {
    let Some(path) = smollm2() else { return };
    let gguf = Gguf::open(&path).unwrap();
    let of = |format| gguf.tensors().iter().filter(|tensor| tensor.format == format).count();
    assert_eq!((of(Format::Q4_1), of(Format::Q8_0), of(Format::F32)), (210, 1, 61));
    assert_eq!(gguf.tensor("token_embd.weight").unwrap().shape, [49_152, 576]);
    assert_eq!(gguf.tensor("blk.0.ffn_down.weight").unwrap().shape, [576, 1536]);
    let vocabulary = gguf.vocabulary().unwrap();
    assert_eq!(vocabulary.pieces.len(), 49_152);
    assert_eq!(vocabulary.pieces[2].text, "<|im_end|>");
    let Algorithm::ByteLevel { merges, pre_tokenizer } = &vocabulary.algorithm else {
        panic!("byte pairs");
    };
    assert_eq!(
        (merges.len(), merges[0].as_str(), pre_tokenizer.as_str()),
        (48_900, "Ġ t", "smollm")
    );
    assert!(!vocabulary.add_bos);
    assert_eq!(gguf.eos_token_ids().unwrap(), [2]);
    assert!(gguf.chat_template().unwrap().contains("<|im_start|>"));
    let Some(json) = asset("model/SmolLM2-135M-Instruct/config.json") else { return };
    assert_eq!(gguf.config().unwrap(), ModelConfig::from_file(&json).unwrap());
}
