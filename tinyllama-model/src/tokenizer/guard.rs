//! What is checked before the `tokenizers` crate sees a `tokenizer.json`, so that a broken or hostile
//! one ends in an error: that crate panics on some files, recurses as deep as they nest, and lets a
//! few bytes grow without bound.
//!
//! Its regular expressions give up after ten million steps back, with a panic too; [`caught`] makes an
//! error of that.

use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::TokenizerError;

/// The most bytes read of one file. Gemma 3's tokenizer.json, the largest known, has 33 MB.
const MAX_FILE_BYTES: usize = 1 << 27;
/// The longest piece: its bytes are recursed over, or become states of an automaton, one each.
pub(super) const MAX_PIECE_BYTES: usize = 8192;
/// All added tokens together: each byte becomes up to 80 bytes of an automaton, and two microseconds.
const MAX_ADDED_BYTES: usize = 1 << 20;
/// Arrays and objects in each other; tokenizer.json of Llama 3 has 6.
const MAX_DEPTH: usize = 32;
/// Values of a JSON file: one takes two bytes there, but up to 75 once parsed. Gemma 3's has 1.8
/// million.
const MAX_VALUES: usize = 1 << 22;
const MAX_PATTERN_BYTES: usize = 4096;
/// Groups in each other in a regular expression.
const MAX_PATTERN_DEPTH: usize = 64;
/// How many times as long text may become by one part of a tokenizer. T5's has 72.
const MAX_GROWTH: u64 = 1024;

/// The bytes of a file that is no larger than a tokenizer can be.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Makes an error of a panic in the `tokenizers` crate.
pub(super) fn caught<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    // What `work` leaves half done is dropped: it builds values of its own and changes none.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic).into()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the `tokenizers` library failed").to_owned()
}

/// The JSON of a `tokenizer.json` that the `tokenizers` crate may see.
///
/// # Errors
/// It is no JSON, or holds something that would make that crate fail badly.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, TokenizerError> {
    check_len(bytes)?;
    check_shape(bytes)?;
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|source| TokenizerError::Parse { cause: source.into() })?;
    check_model(&json["model"])?;
    check_added_tokens(&json["added_tokens"])?;
    check_template(&json["post_processor"])?;
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let growth = check_part(part, &json[part])?;
        if growth > MAX_GROWTH {
            let value = format!("a list of steps that makes text {growth} times as long");
            let requirement = format!("one that makes it at most {MAX_GROWTH} times as long");
            return Err(TokenizerError::invalid(part, value, requirement));
        }
    }
    Ok(json)
}

pub(super) fn check_len(bytes: &[u8]) -> Result<(), TokenizerError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge { limit: MAX_FILE_BYTES });
    }
    Ok(())
}

/// Counts what nests and how many values there are, without parsing.
fn check_shape(json: &[u8]) -> Result<(), TokenizerError> {
    let (mut depth, mut values, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => (depth, values) = (depth + 1, values + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        let (value, requirement) = if depth > MAX_DEPTH {
            ("too deep", format!("of at most {MAX_DEPTH} arrays and objects in each other"))
        } else if values > MAX_VALUES {
            ("too long", format!("of at most {MAX_VALUES} values"))
        } else {
            continue;
        };
        return Err(TokenizerError::invalid("tokenizer.json", value, requirement));
    }
    Ok(())
}

fn check_model(model: &Value) -> Result<(), TokenizerError> {
    const PREFIX: &str = "continuing_subword_prefix";
    match &model["vocab"] {
        Value::Object(vocab) => {
            for text in vocab.keys() {
                check_piece("model.vocab", text)?;
            }
            if let Value::Array(merges) = &model["merges"] {
                // The library cuts the prefix off without looking for it.
                if let Some(prefix) = model[PREFIX].as_str().filter(|prefix| !prefix.is_empty()) {
                    let remedy = "byte-pair encoding is done without a prefix";
                    return Err(TokenizerError::unsupported(
                        format!("model.{PREFIX}"),
                        prefix,
                        remedy,
                    ));
                }
                check_merges(merges, vocab)?;
            }
        }
        Value::Array(vocab) => {
            // The model is a tree that is dropped and copied by recursion over each piece.
            for text in vocab.iter().filter_map(|piece| piece[0].as_str()) {
                check_piece("model.vocab", text)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn check_piece(field: &str, text: &str) -> Result<(), TokenizerError> {
    if text.len() > MAX_PIECE_BYTES {
        let requirement = format!("at most {MAX_PIECE_BYTES} bytes long");
        return Err(TokenizerError::invalid(field, text, requirement));
    }
    Ok(())
}

/// Each merge joins two pieces to a third.
fn check_merges(merges: &[Value], vocab: &Map<String, Value>) -> Result<(), TokenizerError> {
    let mut joined = String::new();
    for (rank, merge) in merges.iter().enumerate() {
        let parts = match merge {
            Value::String(line) if line.starts_with("#version") => continue,
            Value::String(line) => line.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        let known = |&(left, right): &(&str, &str)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            [left, right, &joined].into_iter().all(|text| vocab.contains_key(text))
        };
        if parts.filter(known).is_none() {
            return Err(TokenizerError::invalid(
                format!("model.merges[{rank}]"),
                merge,
                "two pieces of `model.vocab` whose join is a piece too",
            ));
        }
    }
    Ok(())
}

fn check_added_tokens(tokens: &Value) -> Result<(), TokenizerError> {
    let tokens = tokens.as_array().into_iter().flatten();
    check_added(tokens.map(|token| token["content"].as_str().unwrap_or_default()))
}

/// Added tokens become an automaton.
pub(super) fn check_added<'a>(
    contents: impl Iterator<Item = &'a str>,
) -> Result<(), TokenizerError> {
    let mut total = 0;
    for (index, content) in contents.enumerate() {
        check_piece(&format!("added_tokens[{index}].content"), content)?;
        total += content.len();
    }
    if total > MAX_ADDED_BYTES {
        let value = format!("{total} bytes of text");
        let requirement = format!("at most {MAX_ADDED_BYTES} bytes");
        return Err(TokenizerError::invalid("added_tokens", value, requirement));
    }
    Ok(())
}

/// A template names special tokens that it then looks up, and one text it puts them around.
fn check_template(processor: &Value) -> Result<(), TokenizerError> {
    for processor in processor["processors"].as_array().into_iter().flatten() {
        check_template(processor)?;
    }
    let field = "post_processor.single";
    for piece in processor["single"].as_array().into_iter().flatten() {
        if let Some(id) = piece["SpecialToken"]["id"].as_str()
            && processor["special_tokens"].get(id).is_none()
        {
            let requirement = "one of `post_processor.special_tokens`";
            return Err(TokenizerError::invalid(field, id, requirement));
        }
        if piece["Sequence"]["id"] == "B" {
            let requirement = "a template for the one text `A`";
            return Err(TokenizerError::invalid(field, "for a second text `B`", requirement));
        }
    }
    for (name, token) in processor["special_tokens"].as_object().into_iter().flatten() {
        let len = |key: &str| token[key].as_array().map(Vec::len);
        if len("ids") != len("tokens") {
            let field = format!("post_processor.special_tokens.{name}");
            return Err(TokenizerError::invalid(field, token, "as many `ids` as `tokens`"));
        }
    }
    Ok(())
}

/// How many times as long text may become by this step and those in it.
fn check_part(path: &str, part: &Value) -> Result<u64, TokenizerError> {
    let field = |key: &str| format!("{path}.{key}");
    let mut growth = 1_u64;
    for key in ["normalizers", "pretokenizers", "decoders"] {
        for (index, step) in part[key].as_array().into_iter().flatten().enumerate() {
            let step = check_part(&format!("{path}.{key}[{index}]"), step)?;
            growth = growth.saturating_mul(step);
        }
    }
    let pattern = &part["pattern"];
    if let Some(pattern) = pattern["Regex"].as_str().or(pattern["String"].as_str()) {
        check_pattern(&field("pattern"), pattern)?;
    }
    let len = |key: &str| part[key].as_str().map_or(0, str::len) as u64;
    let own = match part["type"].as_str().unwrap_or_default() {
        "Precompiled" => {
            let remedy = "take a tokenizer.json whose `normalizer` is spelled out";
            return Err(TokenizerError::unsupported(field("type"), "Precompiled", remedy));
        }
        "FixedLength" if part["length"] == 0 => {
            return Err(TokenizerError::invalid(field("length"), 0, "at least 1"));
        }
        "Strip" if part["stop"].as_u64().is_some_and(|stop| stop > 0) => {
            let remedy = "decoders strip the start only: set it to 0";
            return Err(TokenizerError::unsupported(field("stop"), &part["stop"], remedy));
        }
        "Replace" => match pattern["String"].as_str().map_or(0, str::len) as u64 {
            // A regular expression, or nothing: it may match between any two bytes.
            0 => len("content").saturating_add(1),
            old => len("content").div_ceil(old).max(1),
        },
        "Prepend" => len("prepend").saturating_add(1),
        // A byte becomes a letter of two; a space, `▁`; `ﷺ`, eighteen letters.
        "ByteLevel" => 2,
        "Metaspace" => 4,
        "NFKC" | "NFKD" => 18,
        "NFD" | "Lowercase" | "BertNormalizer" => 3,
        _ => 1,
    };
    Ok(growth.saturating_mul(own))
}

fn check_pattern(field: &str, pattern: &str) -> Result<(), TokenizerError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        let requirement = format!("at most {MAX_PATTERN_BYTES} bytes long");
        return Err(TokenizerError::invalid(field, pattern, requirement));
    }
    // Every bracket counts, escaped ones too: no pattern in use has so many.
    let mut depth = 0_usize;
    for byte in pattern.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_PATTERN_DEPTH {
            let requirement = format!("at most {MAX_PATTERN_DEPTH} groups in each other");
            return Err(TokenizerError::invalid(field, pattern, requirement));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
