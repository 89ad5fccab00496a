//! The keys of a Llama's metadata, and the names of the tensors that its metadata depend on.

pub(super) const ALIGNMENT: &str = "general.alignment";
pub(super) const ARCHITECTURE: &str = "general.architecture";
pub(super) const FILE_TYPE: &str = "general.file_type";
pub(super) const NAME: &str = "general.name";
pub(super) const QUANTIZATION_VERSION: &str = "general.quantization_version";
pub(super) const SIZE_LABEL: &str = "general.size_label";
pub(super) const TYPE: &str = "general.type";

pub(super) const SPLIT_COUNT: &str = "split.count";
pub(super) const SPLIT_NO: &str = "split.no";

pub(super) const BLOCK_COUNT: &str = "llama.block_count";
pub(super) const CAUSAL: &str = "llama.attention.causal";
pub(super) const CONTEXT_LENGTH: &str = "llama.context_length";
pub(super) const EMBEDDING_LENGTH: &str = "llama.embedding_length";
pub(super) const EXPERT_COUNT: &str = "llama.expert_count";
pub(super) const FEED_FORWARD_LENGTH: &str = "llama.feed_forward_length";
pub(super) const HEAD_COUNT: &str = "llama.attention.head_count";
pub(super) const HEAD_COUNT_KV: &str = "llama.attention.head_count_kv";
pub(super) const KEY_LENGTH: &str = "llama.attention.key_length";
pub(super) const RMS_EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";
pub(super) const ROPE_DIMENSION_COUNT: &str = "llama.rope.dimension_count";
pub(super) const ROPE_FREQ_BASE: &str = "llama.rope.freq_base";
pub(super) const ROPE_SCALE_LINEAR: &str = "llama.rope.scale_linear";
pub(super) const ROPE_SCALING_FACTOR: &str = "llama.rope.scaling.factor";
pub(super) const ROPE_ORIGINAL_CONTEXT: &str = "llama.rope.scaling.original_context_length";
pub(super) const ROPE_ATTENTION_FACTOR: &str = "llama.rope.scaling.attn_factor";
pub(super) const ROPE_SCALING_TYPE: &str = "llama.rope.scaling.type";
pub(super) const VALUE_LENGTH: &str = "llama.attention.value_length";
pub(super) const VOCAB_SIZE: &str = "llama.vocab_size";

pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(super) const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const BOS_ID: &str = "tokenizer.ggml.bos_token_id";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
pub(super) const EOM_ID: &str = "tokenizer.ggml.eom_token_id";
pub(super) const EOS_ID: &str = "tokenizer.ggml.eos_token_id";
pub(super) const EOT_ID: &str = "tokenizer.ggml.eot_token_id";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const PADDING_ID: &str = "tokenizer.ggml.padding_token_id";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const TOKENIZER_MODEL: &str = "tokenizer.ggml.model";
pub(super) const TOKENIZER_PRE: &str = "tokenizer.ggml.pre";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(super) const UNKNOWN_ID: &str = "tokenizer.ggml.unknown_token_id";

/// The embedding, `[V, D]`.
pub(super) const TOKEN_EMBD: &str = "token_embd.weight";
/// The output head, `[V, D]`; absent where it is the embedding.
pub(super) const OUTPUT: &str = "output.weight";
/// What the rotary frequencies are divided by, `[H / 2]`.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";
