//! How GGUF's names `tokenizer.ggml.pre` cut text before byte-pair encoding, and the way back.
//!
//! As llama.cpp's llama-vocab.cpp does, each pattern in turn cuts the pieces that the ones before left
//! over: what it matches, and what lies between. Where llama.cpp had to rewrite a pattern for its own
//! regular expressions, here stands the one of Hugging Face's tokenizer.json, which it quotes.

use serde_json::{Value, json};
use tokenizers::normalizers::NFC;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::error::TokenizerError;

/// One way to cut text.
pub(super) struct PreTokenizer {
    /// GGUF's names; the first one is written.
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// Whether a piece that is a token as a whole is not cut further.
    pub(super) ignore_merges: bool,
    /// Whether characters are composed first. llama.cpp never does; transformers does for these.
    composes: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const DIGITS: &str = r"\p{N}+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LINE_END: &str = r"[\r\n]";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
/// [`PUNCTUATION`] without the backtick, as llama.cpp has it for files that name no way.
const DEFAULT_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const HAN: &str = "[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+";
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[",
    "A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}",
    "\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-",
    "\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-",
    "\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-",
    "\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}",
    "\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}",
    "\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}",
    "\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-",
    "\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}",
    "\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}",
    "\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-",
    "\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-",
    "\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}",
    "\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-",
    "\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-",
    "\u{1E943}",
    r"]+"
);
const DEEPSEEK_PUNCTUATION: &str =
    "\\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+";

const KNOWN: [PreTokenizer; 13] = [
    // The first of two that cut alike is the one written.
    known(&["gpt-2", "gpt2", "phi-2"], &[GPT2]),
    PreTokenizer { composes: true, ..known(&["mpt", "olmo"], &[GPT2]) },
    known(&["default"], &[DEFAULT_PUNCTUATION, GPT2, DIGITS, THREE_DIGITS]),
    known(&["smollm", "starcoder", "refact", "codeshell"], &[DIGIT, GPT2]),
    PreTokenizer { composes: true, ..known(&["command-r"], &[DIGIT, GPT2]) },
    PreTokenizer {
        ignore_merges: true,
        ..known(&["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"], &[LLAMA3])
    },
    known(&["smaug-bpe", "dbrx"], &[LLAMA3]),
    PreTokenizer { composes: true, ..known(&["qwen2"], &[QWEN2]) },
    PreTokenizer { ignore_merges: true, ..known(&["tekken"], &[TEKKEN]) },
    known(&["gpt-4o", "llama4"], &[GPT4O]),
    known(
        &["deepseek-llm"],
        &[LINE_END, DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, r"\s+$", HAN, DIGITS],
    ),
    known(&["deepseek-coder"], &[LINE_END, r"\s?\p{L}+", r"\s?\p{P}+", HAN, DIGIT]),
    known(&["falcon"], &[PUNCTUATION, GPT2, THREE_DIGITS]),
];

const fn known(names: &'static [&'static str], patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { names, patterns, ignore_merges: false, composes: false }
}

impl PreTokenizer {
    /// # Errors
    /// The name is not one of llama.cpp's, or how it cuts could not be verified.
    pub(super) fn of_name(name: &str) -> Result<&'static Self, TokenizerError> {
        KNOWN.iter().find(|known| known.names.contains(&name)).ok_or_else(|| {
            let known: Vec<_> = KNOWN.iter().flat_map(|known| known.names).copied().collect();
            TokenizerError::UnknownPreTokenizer { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The name under which GGUF files have what a tokenizer.json does.
    ///
    /// # Errors
    /// No name says the same.
    pub(super) fn name_of(
        normalizers: &[&Value],
        pre_tokenizer: &Value,
        ignore_merges: bool,
    ) -> Result<&'static str, TokenizerError> {
        const REMEDY: &str = "GGUF has no name for it; take the tokenizer of SmolLM2, Llama 3 or \
                              another one that `tokenizer.ggml.pre` can name";
        let composes = match normalizers {
            [] => false,
            [step] if step["type"] == "NFC" => true,
            _ => {
                let value = json!(normalizers);
                return Err(TokenizerError::unsupported("normalizer", value, REMEDY));
            }
        };
        let patterns = patterns(pre_tokenizer)
            .ok_or_else(|| TokenizerError::unsupported("pre_tokenizer", pre_tokenizer, REMEDY))?;
        let same = |known: &&PreTokenizer| {
            known.composes == composes
                && known.ignore_merges == ignore_merges
                && known.patterns.iter().eq(&patterns)
        };
        KNOWN.iter().find(same).map(|known| known.names[0]).ok_or_else(|| {
            let value = format!(
                "`ignore_merges` {ignore_merges}, {} normalizers and {patterns:?}",
                normalizers.len()
            );
            TokenizerError::unsupported("pre_tokenizer", value, REMEDY)
        })
    }

    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.composes.then(|| NFC.into())
    }

    /// In the words of Hugging Face's files: `Digits` and `use_regex` where these say the same.
    pub(super) fn pre_tokenizer(&self) -> PreTokenizerWrapper {
        let (patterns, use_regex) = match self.patterns {
            [patterns @ .., GPT2] => (patterns, true),
            patterns => (patterns, false),
        };
        let step = |&pattern: &&str| match pattern {
            DIGIT => json!({"type": "Digits", "individual_digits": true}),
            pattern => json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                "invert": false
            }),
        };
        let mut steps: Vec<Value> = patterns.iter().map(step).collect();
        steps.push(json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex
        }));
        let value = match steps.len() {
            1 => steps.remove(0),
            _ => json!({"type": "Sequence", "pretokenizers": steps}),
        };
        serde_json::from_value(value).expect("patterns above are valid")
    }
}

/// The patterns that cut text one after the other, if that is all, and bytes are the end of it.
fn patterns(pre_tokenizer: &Value) -> Option<Vec<&str>> {
    let mut patterns = Vec::new();
    let mut in_bytes = false;
    for step in steps(pre_tokenizer, "pretokenizers") {
        let flag = |key: &str| step[key].as_bool();
        match step["type"].as_str()? {
            "Digits" => patterns.push(if flag("individual_digits")? { DIGIT } else { DIGITS }),
            "Punctuation" if step["behavior"] == "Contiguous" => patterns.push(PUNCTUATION),
            "Split" if step["behavior"] == "Isolated" && flag("invert") == Some(false) => {
                let pattern = step["pattern"]["Regex"].as_str()?;
                // In bytes only ASCII digits are still themselves.
                if in_bytes && pattern != THREE_DIGITS {
                    return None;
                }
                patterns.push(pattern);
            }
            "ByteLevel" if !in_bytes && flag("add_prefix_space") == Some(false) => {
                in_bytes = true;
                if flag("use_regex")? {
                    patterns.push(GPT2);
                }
            }
            _ => return None,
        }
    }
    in_bytes.then_some(patterns)
}

/// The parts of a sequence, or the part itself; none of null.
pub(super) fn steps<'a>(part: &'a Value, key: &str) -> Vec<&'a Value> {
    match part[key].as_array() {
        Some(parts) => parts.iter().flat_map(|part| steps(part, key)).collect(),
        None if part.is_null() => Vec::new(),
        None => vec![part],
    }
}

pub(super) fn to_value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).expect("every part of a tokenizer has a JSON form")
}

#[cfg(test)]
mod tests;
