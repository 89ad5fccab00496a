//! The model that the metadata describe.

use super::builder::{ARRAY, F32, File, INT32, UINT32, UINT64, array};
use super::{assert_config_refused, open, refused};
use crate::config::{ModelConfig, RopeScaling};

fn expected() -> ModelConfig {
    ModelConfig {
        vocab_size: 4,
        hidden_size: 4,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: None,
        max_position_embeddings: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        tie_word_embeddings: true,
        initializer_range: 0.02,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        other_eos_token_ids: Vec::new(),
        pad_token_id: None,
        torch_dtype: "float32".to_owned(),
    }
}

/// The config of a file with a change.
fn config(change: impl FnOnce(&mut File)) -> ModelConfig {
    let mut file = File::llama();
    change(&mut file);
    open(file.bytes()).unwrap().config().unwrap()
}

#[test]
fn sizes_are_those_of_the_file() {
    assert_eq!(config(|_| ()), expected());
    let all = config(|file| {
        file.uint32("llama.attention.key_length", 6).uint32("llama.attention.value_length", 6);
        file.uint32("llama.rope.dimension_count", 6).float32("llama.rope.freq_base", 5e5);
        file.uint32("general.file_type", 32).uint32("llama.vocab_size", 4);
        file.uint32("tokenizer.ggml.eot_token_id", 3).uint32("tokenizer.ggml.eom_token_id", 2);
        file.uint32("tokenizer.ggml.padding_token_id", 0).uint32("llama.expert_count", 0);
        file.bool("llama.attention.causal", 1).string("general.type", "model");
        // The specification's own size of counts.
        file.set("llama.block_count", UINT64, 7u64.to_le_bytes().to_vec());
        file.without("llama.attention.head_count_kv").tensor("output.weight", &[4, 4], F32, 64);
    });
    assert_eq!(
        all,
        ModelConfig {
            num_hidden_layers: 7,
            num_key_value_heads: 2,
            head_dim: Some(6),
            rope_theta: 500_000.0,
            tie_word_embeddings: false,
            other_eos_token_ids: vec![3],
            pad_token_id: Some(0),
            torch_dtype: "bfloat16".to_owned(),
            ..expected()
        }
    );
}

#[test]
fn a_vocabulary_alone_has_sizes_too() {
    let without_tensors = |file: &mut File| file.tensors.clear();
    assert_eq!(config(without_tensors).vocab_size, 4);
    let vocab_size = config(|file| {
        without_tensors(file);
        file.uint32("llama.vocab_size", 8);
    });
    assert_eq!(vocab_size.vocab_size, 8);
}

#[test]
fn ids_that_stand_for_none() {
    let none = config(|file| {
        file.uint32("tokenizer.ggml.bos_token_id", u32::MAX);
        file.set("tokenizer.ggml.eos_token_id", INT32, vec![255; 4]);
    });
    assert_eq!((none.bos_token_id, none.eos_token_id), (None, None));
    // llama.cpp's defaults of SentencePiece.
    let absent = config(|file| {
        file.without("tokenizer.ggml.bos_token_id").without("tokenizer.ggml.eos_token_id");
    });
    assert_eq!((absent.bos_token_id, absent.eos_token_id), (Some(1), Some(2)));
}

#[test]
fn linear_scaling_under_both_of_its_names() {
    let linear = Some(RopeScaling::Linear { factor: 4.0 });
    let scaled = |change: fn(&mut File)| config(change).rope_scaling;
    let named = scaled(|file| {
        file.string("llama.rope.scaling.type", "linear").float32("llama.rope.scaling.factor", 4.0);
    });
    assert_eq!(named, linear);
    let old = |file: &mut File| {
        file.float32("llama.rope.scale_linear", 4.0);
    };
    assert_eq!(scaled(old), linear);
    let nothing = |file: &mut File| {
        file.string("llama.rope.scaling.type", "none").float32("llama.rope.scaling.factor", 4.0);
    };
    assert_eq!(scaled(nothing), None);
    for factor in [0.0, 1.0] {
        let scaling = config(|file| {
            file.float32("llama.rope.scaling.factor", factor);
        });
        assert_eq!(scaling.rope_scaling, None, "factor {factor}");
    }
}

/// A file with divisors of the rotary frequencies.
fn with_divisors(divisors: &[f32]) -> File {
    let mut file = File::llama();
    file.tensor("rope_freqs.weight", &[divisors.len() as u64], F32, 4 * divisors.len());
    let start = file.data.len() - 4 * divisors.len();
    let bytes = divisors.iter().flat_map(|divisor| divisor.to_le_bytes());
    file.data.splice(start.., bytes);
    file
}

#[test]
fn divisors_of_frequencies() {
    let file = with_divisors(&[1.0]);
    let gguf = open(file.bytes()).unwrap();
    assert_eq!(gguf.rope_frequency_divisors().unwrap(), Some(vec![1.0]));
    assert_eq!(gguf.config().unwrap(), expected());
    let file = with_divisors(&[1.0, 8.0]);
    let gguf = open(file.bytes()).unwrap();
    assert_eq!(gguf.rope_frequency_divisors().unwrap(), Some(vec![1.0, 8.0]));
    assert_config_refused(
        "length",
        &file,
        "`rope_freqs.weight` is a vector of 2, but must be half",
    );
    // The one pair of a head of two turns once a radian: 8192 tokens see it turn often, so Llama 3
    // leaves it.
    assert_config_refused(
        "not Llama 3",
        &with_divisors(&[8.0]),
        "`rope_freqs.weight` is a list with 8, which is not",
    );
    for divisor in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let gguf = open(with_divisors(&[divisor]).bytes()).unwrap();
        let message = refused(|| gguf.rope_frequency_divisors());
        assert!(message.contains("finite and above 0 everywhere"), "{divisor}: {message}");
    }
    let mut matrix = File::llama();
    matrix.tensor("rope_freqs.weight", &[1, 1], F32, 4);
    assert_config_refused("a matrix", &matrix, "is F32 of shape [1, 1], but must be a vector");
}

/// A change of a file and the words that refuse it.
type Case = (&'static str, fn(&mut File) -> &mut File, &'static str);

#[track_caller]
fn assert_all_refused(cases: &[Case]) {
    for (case, change, words) in cases {
        let mut file = File::llama();
        change(&mut file);
        assert_config_refused(case, &file, words);
    }
}

#[test]
fn other_models_are_refused_by_name() {
    let per_layer = |key: &'static str| (key, array(UINT32, 1, &[2, 0, 0, 0]));
    let mut file = File::llama();
    for (key, value) in [
        per_layer("llama.attention.head_count"),
        per_layer("llama.attention.head_count_kv"),
        per_layer("llama.feed_forward_length"),
    ] {
        file.set(key, ARRAY, value);
        let words = format!("`{key}` is an array with a value per layer, which is not supported");
        assert_config_refused("per layer", &file, &words);
        file = File::llama();
    }
    assert_all_refused(&[
        (
            "architecture",
            |file| file.string("general.architecture", "gpt2"),
            "`general.architecture` is `gpt2`, which is not supported: only `llama`",
        ),
        ("adapter", |file| file.string("general.type", "adapter"), "`general.type` is `adapter`"),
        ("experts", |file| file.uint32("llama.expert_count", 8), "`llama.expert_count` is 8"),
        (
            "both directions",
            |file| file.bool("llama.attention.causal", 0),
            "`llama.attention.causal` is false, which is not supported",
        ),
        (
            "longrope",
            |file| {
                file.string("llama.rope.scaling.type", "longrope")
                    .float32("llama.rope.scaling.factor", 4.0)
            },
            "`llama.rope.scaling.type` is `longrope`, which is not supported: `none`, `linear`",
        ),
    ]);
}

#[test]
fn keys_that_are_missing_or_wrong() {
    for key in [
        "general.architecture",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let mut file = File::llama();
        file.without(key);
        assert_config_refused(key, &file, &format!("`{key}` is missing"));
    }
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    assert_eq!(epsilon, crate::gguf::keys::RMS_EPSILON);
    assert_all_refused(&[
        (
            "type of a size",
            |file| file.string("llama.block_count", "22"),
            "`llama.block_count` is a string, but must be an integer",
        ),
        (
            "type of a float",
            |file| file.uint32("llama.rope.freq_base", 10_000),
            "`llama.rope.freq_base` is the integer 10000, but must be a float",
        ),
        (
            "size that is too large",
            |file| file.uint32("llama.embedding_length", u32::MAX),
            "`llama.embedding_length` is 4294967295, but must be between 0 and 16777216",
        ),
        (
            "negative size",
            |file| file.set("llama.block_count", INT32, vec![255; 4]),
            "`llama.block_count` is -1, but must be between",
        ),
        ("no layers", |file| file.uint32("llama.block_count", 0), "`num_hidden_layers` is 0"),
        (
            "NaN",
            |file| file.float32("llama.attention.layer_norm_rms_epsilon", f32::NAN),
            "`llama.attention.layer_norm_rms_epsilon` is NaN, but must be finite",
        ),
        (
            "infinity",
            |file| file.float32("llama.rope.freq_base", f32::INFINITY),
            "`llama.rope.freq_base` is inf, but must be finite",
        ),
        (
            "negative epsilon",
            |file| file.float32("llama.attention.layer_norm_rms_epsilon", -1.0),
            "`rms_norm_eps` is -1, but must be finite and above 0",
        ),
        (
            "NaN as factor",
            |file| file.float32("llama.rope.scaling.factor", f32::NAN),
            "`llama.rope.scaling.factor` is NaN",
        ),
        (
            "small factor",
            |file| file.float32("llama.rope.scaling.factor", 0.5),
            "`rope_scaling.factor` is 0.5, but must be finite and at least 1",
        ),
    ]);
}

#[test]
fn sizes_that_do_not_fit_each_other() {
    assert_all_refused(&[
        (
            "heads",
            |file| file.uint32("llama.attention.head_count_kv", 3),
            "`num_key_value_heads` is 3, but must be a divisor of num_attention_heads = 2",
        ),
        (
            "values",
            |file| file.uint32("llama.attention.value_length", 8),
            "`llama.attention.value_length` is 8, but must be 2, the size of a head",
        ),
        (
            "rotated part",
            |file| file.uint32("llama.rope.dimension_count", 1),
            "`llama.rope.dimension_count` is 1, but must be 2, the size of a head",
        ),
        (
            "vocabulary",
            |file| file.uint32("llama.vocab_size", 5),
            "`llama.vocab_size` is 5, but must be 4, the rows of `token_embd.weight`",
        ),
        (
            "tokens",
            |file| file.strings("tokenizer.ggml.tokens", &["a", "b", "c", "d", "e"]),
            "`tokenizer.ggml.tokens` is a list of 5 tokens, but must be at most 4 long",
        ),
        (
            "special token",
            |file| file.uint32("tokenizer.ggml.eot_token_id", 4),
            "`tokenizer.ggml.eot_token_id` is 4, but must be an id of the vocabulary, which has 4",
        ),
    ]);
}
