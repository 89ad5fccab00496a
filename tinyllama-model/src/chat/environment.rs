//! Jinja as chat templates expect it: transformers' settings and the Python methods they call.
//!
//! A template is a stranger's program. It gets a budget of steps and no files: there is no loader,
//! so that `include` and `import` find nothing.

use std::slice;

use minijinja::filters;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Steps per rendering: an endless loop ends after about 10 ms (one core of a 2-core cloud CPU),
/// and a conversation of thousands of messages still fits.
const FUEL: u64 = 300_000;

/// The name under which the one template is stored.
pub(super) const TEMPLATE: &str = "chat_template";

/// An environment that holds `source` as [`TEMPLATE`].
pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", to_json);
    environment.set_unknown_method_callback(python_method);
    environment.add_template_owned(TEMPLATE, source.to_owned())?;
    Ok(environment)
}

fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), method) {
        (ValueKind::String, _) => string_method(state, value, method, args),
        (ValueKind::Map, "items") => {
            let () = from_args(args)?;
            state.apply_filter("items", slice::from_ref(value))
        }
        (ValueKind::Map, "keys") => {
            let () = from_args(args)?;
            Ok(value.try_iter()?.collect())
        }
        (ValueKind::Map, "values") => {
            let () = from_args(args)?;
            value.try_iter()?.map(|key| value.get_item(&key)).collect()
        }
        (ValueKind::Map, "get") => {
            let (key, default): (&Value, Option<&Value>) = from_args(args)?;
            let found = value.get_item(key)?;
            let default = || default.cloned().unwrap_or_else(|| Value::from(()));
            Ok(if found.is_undefined() { default() } else { found })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let text = value.as_str().unwrap_or_default();
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(args)?;
            let strips = |c: char| match characters {
                Some(characters) => characters.contains(c),
                None => c.is_whitespace(),
            };
            let text = if method == "rstrip" { text } else { text.trim_start_matches(strips) };
            let text = if method == "lstrip" { text } else { text.trim_end_matches(strips) };
            Ok(Value::from(text))
        }
        "startswith" | "endswith" => {
            let (part,): (&str,) = from_args(args)?;
            let holds = match method {
                "startswith" => text.starts_with(part),
                _ => text.ends_with(part),
            };
            Ok(Value::from(holds))
        }
        "split" => {
            let (separator, max_splits): (Option<&str>, Option<i64>) = from_args(args)?;
            split(text, separator, max_splits)
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            Ok(Value::from(text.replace(from, to)))
        }
        "upper" | "lower" | "title" | "capitalize" => {
            let () = from_args(args)?;
            state.apply_filter(method, slice::from_ref(value))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// Python's `str.split`: runs of white space without a separator, and at most `max_splits` cuts.
fn split(text: &str, separator: Option<&str>, max_splits: Option<i64>) -> Result<Value, Error> {
    let pieces = max_splits.and_then(|cuts| usize::try_from(cuts).ok()).map(|cuts| cuts + 1);
    let Some(separator) = separator else {
        if pieces.is_some() {
            return Err(Error::new(ErrorKind::InvalidOperation, "split(None, n) is not supported"));
        }
        return Ok(text.split_whitespace().collect());
    };
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    Ok(match pieces {
        Some(pieces) => text.splitn(pieces, separator).collect(),
        None => text.split(separator).collect(),
    })
}

/// Python's `json.dumps(value, ensure_ascii=False)`: the filter of Jinja without its HTML escapes.
fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let escaped = filters::tojson(value, indent, options)?.to_string();
    let mut json = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    // Each backslash begins an escape, so that the ones sought are not mistaken for `\\\\u003c`.
    while let Some(at) = rest.find('\\') {
        json.push_str(&rest[..at]);
        let unescaped = match rest.get(at..at + 6) {
            Some("\\u003c") => Some('<'),
            Some("\\u003e") => Some('>'),
            Some("\\u0026") => Some('&'),
            Some("\\u0027") => Some('\''),
            _ => None,
        };
        match unescaped {
            Some(character) => {
                json.push(character);
                rest = &rest[at + 6..];
            }
            None => {
                // JSON has a character behind each backslash, and those of escapes are ASCII.
                json.push_str(&rest[at..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    json.push_str(rest);
    Ok(json)
}
