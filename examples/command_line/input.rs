//! From the lines a user types to questions and commands.
//!
//! As in ollama, `"""` begins a text of several lines and `"""` at the end of a line ends it; a
//! backslash at the end of a line continues it, as in llama.cpp. A paste is one entry of several
//! lines.

/// What begins and ends a text of several lines.
const QUOTES: &str = "\"\"\"";

/// A finished input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line that began with a slash.
    Command {
        /// Without the slash.
        name: String,
        /// What follows the name.
        rest: String,
    },
    /// A text for the model.
    Question(String),
}

impl Input {
    /// The input as one entry that [`Lines::push`] reads as the same input again.
    pub(crate) fn history_entry(&self) -> String {
        let quoted = |text: &str, is_needed: bool| match is_needed {
            true => format!("{QUOTES}{text}{QUOTES}"),
            false => text.to_owned(),
        };
        match self {
            Self::Command { name, rest } => {
                let rest = quoted(rest, goes_on(rest) || rest.starts_with(QUOTES));
                format!("/{name} {rest}").trim_end().to_owned()
            }
            Self::Question(text) => quoted(text, goes_on(text) || text.starts_with(['/', '"'])),
        }
    }
}

/// Whether a text, read as it stands, would be taken for a part of one or for a paste.
fn goes_on(text: &str) -> bool {
    text.contains('\n') || text.ends_with('\\')
}

/// The lines of an input that is not finished.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// `None` between two inputs.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    /// The name of a command; `None` for a question.
    command: Option<String>,
    is_quoted: bool,
    text: String,
}

impl Lines {
    /// Whether more lines belong to the input.
    pub(crate) fn is_open(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether `"""` has begun a text and not ended it.
    pub(crate) fn is_quoted(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.is_quoted)
    }

    /// Takes a typed line, or pasted ones; gives the input they finish, unless it is blank.
    pub(crate) fn push(&mut self, entry: &str) -> Option<Input> {
        let (mut begun, entry) = match self.begun.take() {
            Some(begun) => (begun, entry),
            None => Begun::new(entry),
        };
        let end = entry.trim_end();
        let mark = if begun.is_quoted { QUOTES } else { "\\" };
        let is_marked = end.ends_with(mark);
        // The mark of a quoted text ends it, that of others says that it goes on.
        begun.text.push_str(if is_marked { &end[..end.len() - mark.len()] } else { entry });
        if is_marked == begun.is_quoted {
            return begun.finish();
        }
        begun.text.push('\n');
        self.begun = Some(begun);
        None
    }

    /// The input as far as it goes, where no more lines come; `None` within quotes.
    pub(crate) fn end(&mut self) -> Option<Input> {
        self.begun.take().filter(|begun| !begun.is_quoted)?.finish()
    }

    /// Forgets the lines.
    pub(crate) fn discard(&mut self) {
        self.begun = None;
    }
}

impl Begun {
    /// Begins an input; gives what is left of its first entry.
    fn new(entry: &str) -> (Self, &str) {
        let entry = entry.trim_start();
        // Several pasted lines are a text, whatever they begin with, unless its end is quoted.
        let command = entry.strip_prefix('/').map(split_word);
        let (command, rest) = match command {
            Some((name, rest)) if rest.starts_with(QUOTES) || !entry.trim_end().contains('\n') => {
                (Some(name.to_owned()), rest)
            }
            _ => (None, entry),
        };
        let (is_quoted, rest) = match rest.strip_prefix(QUOTES) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        (Self { command, is_quoted, text: String::new() }, rest)
    }

    fn finish(self) -> Option<Input> {
        let text = match self.is_quoted {
            // The spaces that begin its first line are the user's.
            true => self.text.trim_matches('\n').trim_end(),
            false => self.text.trim(),
        };
        match self.command {
            Some(name) => Some(Input::Command { name, rest: text.to_owned() }),
            None if text.trim().is_empty() => None,
            None => Some(Input::Question(text.to_owned())),
        }
    }
}

/// The first word, and what follows the white space after it.
pub(crate) fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}
