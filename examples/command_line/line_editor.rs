//! Lines from a user: with editing, history and completion on a terminal, plain from a pipe.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, CompletionType, Config, Context, Editor, Helper};

use super::commands::{COMMANDS, settings};
use super::input::split_word;

/// What a terminal calls itself that only prints lines, such as a shell within Emacs.
const DUMB: &str = "dumb";

/// What became of a line.
#[derive(Debug)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of a file.
    End,
}

/// Where lines come from.
pub(crate) enum LineEditor {
    Terminal { editor: Box<Editor<Completions, FileHistory>>, history: Option<PathBuf> },
    Plain { has_prompt: bool },
}

impl LineEditor {
    /// On stdin.
    pub(crate) fn open() -> Result<Self> {
        let is_terminal = std::io::stdin().is_terminal();
        if !is_terminal || is_dumb() {
            return Ok(Self::Plain { has_prompt: is_terminal });
        }
        // With answers going to a file, the prompt and what is typed must not go there too.
        let behavior = match std::io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder()
            .behavior(behavior)
            .completion_type(CompletionType::List)
            .bracketed_paste(true)
            .build();
        let mut editor = Editor::with_config(config)
            .map_err(|error| anyhow!("cannot open the terminal: {error}"))?;
        editor.set_helper(Some(Completions));
        // A chat without history is still a chat: no home directory, or a full disk, is no reason
        // to end.
        let history = history_file();
        if let Some(file) = &history {
            editor.load_history(file).ok();
        }
        Ok(Self::Terminal { editor: Box::new(editor), history })
    }

    /// Shows `prompt` and waits for a line, or for several that are pasted at once.
    pub(crate) fn read(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(text) => Ok(Line::Text(text)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(anyhow!("cannot read a line: {error}")),
            },
            Self::Plain { has_prompt } => {
                if *has_prompt {
                    write!(std::io::stderr(), "{prompt}").ok();
                }
                let mut text = String::new();
                match std::io::stdin().lock().read_line(&mut text) {
                    Ok(0) => Ok(Line::End),
                    Ok(_) => Ok(Line::Text(text.trim_end_matches(['\r', '\n']).to_owned())),
                    Err(error) => Err(anyhow!("cannot read a line: {error}")),
                }
            }
        }
    }

    /// Adds an entry to the history.
    pub(crate) fn remember(&mut self, entry: String) {
        if let Self::Terminal { editor, .. } = self {
            editor.add_history_entry(entry).ok();
        }
    }

    /// Keeps the history for the next time.
    pub(crate) fn close(self) {
        if let Self::Terminal { mut editor, history: Some(file) } = self {
            editor.save_history(&file).ok();
        }
    }
}

/// Whether the terminal takes no escape sequences.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == DUMB)
}

/// Completes commands, their settings and file names.
#[derive(Debug)]
pub(crate) struct Completions;

/// The rest of a command, and its arguments.
#[derive(Debug)]
pub(crate) struct CommandHint {
    shown: String,
    /// How much of it the right arrow inserts.
    name_bytes: usize,
}

impl Hint for CommandHint {
    fn display(&self) -> &str {
        &self.shown
    }

    fn completion(&self) -> Option<&str> {
        (self.name_bytes > 0).then(|| &self.shown[..self.name_bytes])
    }
}

impl Hinter for Completions {
    type Hint = CommandHint;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<CommandHint> {
        let typed = line.strip_prefix('/').filter(|name| pos == line.len() && !name.is_empty())?;
        let command = COMMANDS.iter().find(|command| command.name.starts_with(typed))?;
        let rest = &command.name[typed.len()..];
        let shown = format!("{rest} {}", command.arguments).trim_end().to_owned();
        Some(CommandHint { shown, name_bytes: rest.len() })
    }
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..pos]))
    }
}

impl Highlighter for Completions {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

impl Validator for Completions {}

impl Helper for Completions {}

/// Where the word to complete begins in what is typed, and what may stand there.
pub(crate) fn candidates(typed: &str) -> (usize, Vec<String>) {
    let Some(words) = typed.strip_prefix('/') else { return (0, Vec::new()) };
    if !words.contains(char::is_whitespace) {
        let names = COMMANDS.iter().map(|command| command.name);
        let names = names.filter(|name| name.starts_with(words));
        return (1, names.map(|name| format!("{name} ")).collect());
    }
    let (name, rest) = split_word(words);
    let found = match name {
        "set" if !rest.contains(char::is_whitespace) => {
            let keys = settings().filter(|key| key.starts_with(rest));
            keys.map(|key| format!("{key} ")).collect()
        }
        "save" | "load" => file_names(rest),
        _ => Vec::new(),
    };
    (typed.len() - rest.len(), found)
}

/// The paths that begin with `typed`, in order; a folder ends with a slash.
fn file_names(typed: &str) -> Vec<String> {
    let (folder, name) = typed.split_at(typed.rfind('/').map_or(0, |slash| slash + 1));
    let Ok(entries) = std::fs::read_dir(if folder.is_empty() { "." } else { folder }) else {
        return Vec::new();
    };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let is_meant =
                found.starts_with(name) && found.starts_with('.') == name.starts_with('.');
            let end = if entry.path().is_dir() { "/" } else { "" };
            is_meant.then(|| format!("{folder}{found}{end}"))
        })
        .collect();
    paths.sort_unstable();
    paths
}

/// Where the lines typed are kept: the user's folder for data, if there is one.
fn history_file() -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .or_else(|| std::env::var_os("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
    let folder = data.join("tinyllama");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("chat_history.txt"))
}
