//! Rows of openassistant-guanaco: one JSON object per line, whose `text` holds a conversation as
//! `### Human: ...### Assistant: ...### Human: ...`.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tinyllama_model::{Message, Role};

use crate::error::SftError;

const MARKERS: [(&str, Role); 2] =
    [("### Human:", Role::User), ("### Assistant:", Role::Assistant)];

#[derive(Deserialize)]
struct Row {
    text: String,
}

/// Reads all conversations of a file.
///
/// # Errors
/// The first line that is no such row is named; nothing is dropped silently. A file without rows is
/// an error, too.
pub fn read_guanaco(path: &Path) -> Result<Vec<Vec<Message>>, SftError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SftError::Io { path: path.to_owned(), source })?;
    let mut chats = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let error =
            |detail: String| SftError::Row { path: path.to_owned(), line: index + 1, detail };
        let row: Row = serde_json::from_str(line).map_err(|cause| error(in_column(&cause)))?;
        chats.push(parse(&row.text).map_err(|detail| error(detail.to_owned()))?);
    }
    match chats.is_empty() {
        true => Err(SftError::Empty { path: path.to_owned() }),
        false => Ok(chats),
    }
}

/// The message with its column alone: serde_json counts every row as line 1.
fn in_column(cause: &serde_json::Error) -> String {
    let (line, column) = (cause.line(), cause.column());
    let message = cause.to_string();
    let message = message.trim_end_matches(&format!(" at line {line} column {column}"));
    format!("{message} at column {column}")
}

/// Splits a row at its markers.
fn parse(text: &str) -> Result<Vec<Message>, &'static str> {
    let mut chat: Vec<Message> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((marker, role)) = MARKERS.iter().find(|(marker, _)| rest.starts_with(marker))
        else {
            return Err("the text does not begin with `### Human:` or `### Assistant:`");
        };
        if chat.last().is_some_and(|last| last.role == *role) {
            return Err("two turns of one speaker follow each other");
        }
        rest = &rest[marker.len()..];
        let end = MARKERS.iter().filter_map(|(marker, _)| rest.find(marker)).min();
        let (content, tail) = rest.split_at(end.unwrap_or(rest.len()));
        chat.push(Message { role: *role, content: content.trim().to_owned() });
        rest = tail;
    }
    match chat.is_empty() {
        true => Err("the text is empty"),
        false => Ok(chat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_split_at_their_markers() {
        let chat = parse("### Human: a ### b?### Assistant: c\n### Human: d").unwrap();
        let expected = [Message::user("a ### b?"), Message::assistant("c"), Message::user("d")];
        assert_eq!(chat, expected);
    }

    #[test]
    fn a_bad_row_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"text\":\"### Human: a\"}\n{\"text\":\"hello\"}\n").unwrap();
        let message = read_guanaco(file.path()).unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("`### Human:`"), "{message}");
        fs::write(file.path(), "\n{\"text\": 3}\n").unwrap();
        let message = read_guanaco(file.path()).unwrap_err().to_string();
        assert!(message.contains("line 2: invalid type: integer `3`"), "{message}");
        assert!(message.contains("at column 10; every"), "{message}");
        fs::write(file.path(), "\n").unwrap();
        assert!(matches!(read_guanaco(file.path()), Err(SftError::Empty { .. })));
    }
}
