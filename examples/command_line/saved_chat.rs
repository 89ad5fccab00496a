//! Conversations on disk: `{"system": …, "messages": [{"role", "content"} …], "sampling": {…}}`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use tinyllama_infer::Sampling;
use tinyllama_model::{Message, Role};

/// Far more text than any context holds; a larger file is something else.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// What one file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedChat {
    pub(crate) system: Option<String>,
    /// Questions and answers; whether they take turns, the session checks.
    pub(crate) messages: Vec<Message>,
    pub(crate) sampling: Sampling,
}

/// Reads a file; settings it does not name are those of `sampling`.
///
/// # Errors
/// There is no such file, it is larger than [`MAX_BYTES`], or it holds something else.
pub(crate) fn read(path: &Path, sampling: &Sampling) -> Result<SavedChat> {
    let cannot_read = |error| anyhow!("{}: {error}", path.display());
    // Before it is opened: a pipe would wait for a writer.
    if !fs::metadata(path).map_err(cannot_read)?.is_file() {
        bail!("{}: not a file; name one that /save has written", path.display());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!(
            "{}: larger than {MAX_BYTES} bytes, which no saved chat is; name one that /save has \
             written",
            path.display()
        );
    }
    let chat = serde_json::from_slice(&bytes)
        .map_err(|error| anyhow!("not JSON ({error})"))
        .and_then(|value| parse(value, sampling));
    chat.map_err(|error| anyhow!("{}: {error}; /save writes what /load reads", path.display()))
}

/// Writes a file whole or not at all. Of existing files it replaces saved chats only.
///
/// # Errors
/// The file holds something else, or cannot be written.
pub(crate) fn write(path: &Path, chat: &SavedChat) -> Result<()> {
    // A link stays one: what it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::symlink_metadata(&target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => {
            read(&target, &chat.sampling).map_err(|error| {
                anyhow!("{error}; it is left as it is, save under another name")
            })?;
        }
    }
    let mut text = serde_json::to_string_pretty(&to_json(chat))?;
    text.push('\n');
    if text.len() as u64 > MAX_BYTES {
        bail!("{}: the conversation takes more than {MAX_BYTES} bytes", path.display());
    }
    let folder = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let save = || -> std::io::Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        Ok(())
    };
    save().map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

fn to_json(chat: &SavedChat) -> Value {
    let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } = chat.sampling;
    let message = |message: &Message| json!({"role": message.role, "content": message.content});
    json!({
        "system": chat.system,
        "messages": chat.messages.iter().map(message).collect::<Vec<_>>(),
        "sampling": {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
        },
    })
}

fn parse(value: Value, sampling: &Sampling) -> Result<SavedChat> {
    let Value::Object(mut chat) = value else { bail!("not an object") };
    let system = match chat.remove("system") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => bail!("`system` must be text or null"),
    };
    let Some(Value::Array(messages)) = chat.remove("messages") else {
        bail!("`messages` is missing or no list");
    };
    let messages = messages.into_iter().enumerate();
    let messages = messages.map(|(index, value)| message(index, value)).collect::<Result<_>>()?;
    let mut sampling = *sampling;
    match chat.remove("sampling") {
        None => {}
        Some(Value::Object(settings)) => {
            for (name, value) in settings {
                // A number reads the same in JSON and after /set.
                sampling
                    .set(&name, &value.to_string())
                    .map_err(|error| anyhow!("`sampling`: {error}"))?;
            }
        }
        Some(_) => bail!("`sampling` must be an object"),
    }
    no_more(&chat, "the keys are system, messages and sampling")?;
    Ok(SavedChat { system, messages, sampling })
}

fn message(index: usize, value: Value) -> Result<Message> {
    let Value::Object(mut fields) = value else { bail!("`messages[{index}]` is no object") };
    let role = match fields.remove("role").as_ref().and_then(Value::as_str) {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => {
            bail!("`messages[{index}].role` is system; instructions belong in `system`")
        }
        _ => bail!("`messages[{index}].role` must be user or assistant"),
    };
    let Some(Value::String(content)) = fields.remove("content") else {
        bail!("`messages[{index}].content` is missing or no text");
    };
    no_more(&fields, &format!("messages[{index}] has role and content"))?;
    Ok(Message { role, content })
}

/// A key that nothing reads is a slip of the pen, or another program's file.
fn no_more(fields: &Map<String, Value>, known: &str) -> Result<()> {
    match fields.keys().next() {
        None => Ok(()),
        Some(key) => bail!("`{key}` is unknown; {known}"),
    }
}
