//! What is written is read back whatever it is; a part of it or a changed byte is an error or a value.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use kernels_cubecl::Format;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use super::fuzz::read_all;
use super::open;
use crate::config::ModelConfig;
use crate::gguf::{Description, NewTensor, write};
use crate::tokenizer::{Algorithm, Piece, PieceKind, Vocabulary};
use crate::weights;

fn settings() -> ProptestConfig {
    // The same cases in every run, and no file beside the sources.
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(1), None);
    ProptestConfig { cases: 96, rng_seed, failure_persistence, ..ProptestConfig::default() }
}

#[derive(Clone, Debug)]
struct Content {
    config: ModelConfig,
    vocabulary: Vocabulary,
    name: String,
    chat_template: Option<String>,
    /// Shape, format and bytes by name.
    tensors: BTreeMap<String, (Vec<usize>, Format, Vec<u8>)>,
}

fn config() -> impl Strategy<Value = ModelConfig> {
    let heads = (1usize..4, 1usize..4, 1usize..9);
    (heads, 1usize..200, 1usize..4, 1usize..5000, 2u32..1_000_000, any::<bool>()).prop_map(
        |((kv, group, half), intermediate_size, layers, positions, theta, tied)| ModelConfig {
            hidden_size: kv * group * 2 * half,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: kv * group,
            num_key_value_heads: kv,
            head_dim: Some(2 * half),
            max_position_embeddings: positions,
            rope_theta: f64::from(theta),
            tie_word_embeddings: tied,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
            torch_dtype: "float32".to_owned(),
            ..ModelConfig::tinyllama_1_1b()
        },
    )
}

fn vocabulary() -> impl Strategy<Value = Vocabulary> {
    let kinds = select(vec![PieceKind::Normal, PieceKind::UserDefined, PieceKind::Unused]);
    // Texts that are not those of the three in front.
    let texts = btree_set("[^<\\p{Cc}]{1,9}", 0..20);
    let rest = (texts, vec((-1e6f32..1e6, kinds), 20));
    (rest, any::<bool>(), any::<bool>()).prop_map(|((texts, others), add_bos, prefix)| {
        let special = [("<unk>", PieceKind::Unknown), ("<s>", PieceKind::Control)];
        let special = special.into_iter().chain([("</s>", PieceKind::Control)]);
        let special = special.map(|(text, kind)| Piece { text: text.to_owned(), score: 0.0, kind });
        let others = texts.into_iter().zip(others);
        let others = others.map(|(text, (score, kind))| Piece { text, score, kind });
        Vocabulary {
            pieces: special.chain(others).collect(),
            algorithm: Algorithm::SentencePiece { add_space_prefix: prefix },
            bos_id: Some(1),
            eos_id: Some(2),
            pad_id: None,
            add_bos,
        }
    })
}

fn tensors() -> impl Strategy<Value = BTreeMap<String, (Vec<usize>, Format, Vec<u8>)>> {
    let tensor = (select(Format::ALL.to_vec()), vec(1usize..4, 1..=4), vec(any::<u8>(), 97))
        .prop_map(|(format, mut shape, pattern)| {
            let columns = shape.last_mut().expect("a dimension");
            *columns *= format.block_elements();
            let row_bytes = format.row_bytes(*columns).expect("whole blocks");
            let rows: usize = shape.iter().rev().skip(1).product();
            let bytes = pattern.into_iter().cycle().take(rows * row_bytes).collect();
            (shape, format, bytes)
        });
    prop::collection::btree_map("[a-z0-9._é]{1,30}", tensor, 1..6)
}

fn content() -> impl Strategy<Value = Content> {
    let texts = (any::<String>(), any::<Option<String>>());
    (config(), vocabulary(), texts, tensors()).prop_map(
        |(config, vocabulary, (name, chat_template), mut tensors)| {
            if !config.tie_word_embeddings {
                // A head of its own says so, and nothing else does.
                let head = (vec![1], Format::F32, vec![0; 4]);
                tensors.insert("output.weight".to_owned(), head);
            }
            let config = ModelConfig { vocab_size: vocabulary.pieces.len(), ..config };
            Content { config, vocabulary, name, chat_template, tensors }
        },
    )
}

impl Content {
    /// The file, and where its last tensor ends.
    fn written(&self) -> (Vec<u8>, usize) {
        let description = Description {
            config: &self.config,
            vocabulary: Some(&self.vocabulary),
            chat_template: self.chat_template.as_deref(),
            name: Some(&self.name),
            file_type: Format::F32,
        };
        let tensors = self.tensors.iter().map(|(name, (shape, format, bytes))| NewTensor {
            name: name.clone(),
            shape: shape.clone(),
            format: *format,
            bytes: Box::new(|| Bytes::copy_from_slice(bytes)),
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        write(&path, &description, tensors.collect()).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let (_, _, last) = self.tensors.values().last().unwrap();
        let padding = last.len().next_multiple_of(32) - last.len();
        let end = bytes.len() - padding;
        (bytes, end)
    }
}

/// Everything that opening a model looks at.
fn read(bytes: Vec<u8>) -> bool {
    let Ok(gguf) = open(bytes) else { return false };
    std::hint::black_box(read_all(&gguf));
    let Ok(config) = gguf.config() else { return true };
    if let Ok(tensors) = weights::gguf::read(&gguf, &config) {
        tensors.check(&config).ok();
        tensors.require_finite().ok();
    }
    true
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn what_is_written_is_read_back(content in content()) {
        let (bytes, _) = content.written();
        let gguf = open(bytes).unwrap();
        prop_assert_eq!(gguf.path(), Path::new("m.gguf"));
        prop_assert_eq!(&gguf.config().unwrap(), &content.config);
        prop_assert_eq!(&gguf.vocabulary().unwrap(), &content.vocabulary);
        prop_assert_eq!(gguf.chat_template(), content.chat_template.as_deref());
        let name = gguf.metadata().string("general.name").unwrap();
        prop_assert_eq!(name, Some(content.name.as_str()));
        prop_assert_eq!(gguf.tensors().len(), content.tensors.len());
        for tensor in gguf.tensors() {
            let (shape, format, bytes) = &content.tensors[&tensor.name];
            prop_assert_eq!((&tensor.shape, tensor.format), (shape, *format));
            prop_assert_eq!(&tensor.bytes[..], &bytes[..]);
        }
    }

    #[test]
    fn a_part_of_a_file_is_an_error(content in content(), cuts in vec(any::<Index>(), 64)) {
        let (bytes, end) = content.written();
        for cut in cuts {
            prop_assert!(!read(bytes[..cut.index(end)].to_vec()));
        }
        prop_assert!(read(bytes[..end].to_vec()), "only padding is missing");
    }

    #[test]
    fn a_changed_byte_never_panics(
        content in content(),
        changes in vec((any::<Index>(), 1u8..), 64),
    ) {
        let (whole, _) = content.written();
        for (at, change) in changes {
            let mut bytes = whole.clone();
            bytes[at.index(whole.len())] ^= change;
            read(bytes);
        }
    }
}
