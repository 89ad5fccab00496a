//! Where the messages stand in a rendered conversation: text in which no special token counts.
//!
//! The template is rendered a second time with a marker in place of each content. If putting the
//! contents in place of the markers gives the same text as before, their places are known.

use std::ops::Range;

use super::{ChatTemplate, Message};
use crate::error::ChatError;
use crate::tokenizer::Tokenizer;

/// Characters of a private-use plane around the message's number; no font and no corpus has them,
/// and if one did, the comparison of the two renderings would notice.
const OPEN: char = '\u{F5A01}';
const CLOSE: char = '\u{F5A02}';

impl ChatTemplate {
    /// The bytes of `text`, the rendering of `messages`, that hold their contents.
    pub(super) fn literal(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
        text: &str,
    ) -> Result<Vec<Range<usize>>, ChatError> {
        let marked: Vec<Message> = (messages.iter().enumerate())
            .map(|(index, message)| Message {
                role: message.role,
                content: format!("{OPEN}{index}{CLOSE}"),
            })
            .collect();
        // A template that looks into the contents may refuse the markers.
        let skeleton = self.render(tokenizer, &marked, add_generation_prompt).unwrap_or_default();
        // Templates write the contents as they are, or trimmed.
        let contents = messages.iter().map(|message| message.content.as_str());
        let exact: Vec<&str> = contents.clone().collect();
        let trimmed: Vec<&str> = contents.map(str::trim).collect();
        for contents in [exact, trimmed] {
            if let Some(ranges) = places(&skeleton, &contents, text) {
                return Ok(ranges);
            }
        }
        match messages.iter().position(|message| tokenizer.contains_special(&message.content)) {
            Some(index) => Err(ChatError::Unprotected { index }),
            None => Ok(Vec::new()),
        }
    }
}

/// The ranges of `contents` in `text`, if `skeleton` becomes `text` by putting them in.
fn places(skeleton: &str, contents: &[&str], text: &str) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut position = 0;
    let mut advance = |part: &str| {
        let start = position;
        position += part.len();
        text.get(start..)?.starts_with(part).then_some(start..position)
    };
    let mut rest = skeleton;
    while let Some((before, marker)) = rest.split_once(OPEN) {
        advance(before)?;
        let (index, after) = marker.split_once(CLOSE)?;
        ranges.push(advance(contents.get(index.parse::<usize>().ok()?)?)?);
        rest = after;
    }
    let end = advance(rest)?.end;
    (end == text.len()).then_some(ranges)
}
