//! The commands of a chat, by one table: the help, and what completes a typed beginning.

use tinyllama_infer::Sampling;

/// A command as `/help` shows it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    /// Line by line.
    help: &'static [&'static str],
}

pub(crate) const COMMANDS: [Command; 11] = [
    Command { name: "help", arguments: "", help: &["this list"] },
    Command {
        name: "system",
        arguments: "TEXT",
        help: &["instructions in front of the conversation; without TEXT, none"],
    },
    Command {
        name: "set",
        arguments: "KEY VALUE",
        help: &[
            "temperature, top_k, top_p, min_p, repetition_penalty, seed, max_new_tokens, or",
            "stop, each time one more text that ends an answer",
        ],
    },
    Command { name: "regen", arguments: "", help: &["ask the last question again"] },
    Command { name: "undo", arguments: "", help: &["forget the last question and its answer"] },
    Command { name: "clear", arguments: "", help: &["forget the conversation"] },
    Command { name: "history", arguments: "", help: &["show the conversation"] },
    Command {
        name: "save",
        arguments: "FILE",
        help: &["write instructions, conversation and sampling as JSON"],
    },
    Command { name: "load", arguments: "FILE", help: &["go on with a saved conversation"] },
    Command {
        name: "stats",
        arguments: "",
        help: &["speed of the last answer, room in the context, settings, memory"],
    },
    Command {
        name: "exit",
        arguments: "",
        help: &["leave; so does Ctrl-D. Ctrl-C stops an answer"],
    },
];

/// How wide the left column of the help is.
const COLUMN: usize = 18;

/// All commands, and how a text of several lines is written.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for Command { name, arguments, help } in &COMMANDS {
        let mut left = format!("/{name} {arguments}");
        for line in *help {
            text.push_str(&format!("{left:COLUMN$}{line}\n"));
            left.clear();
        }
    }
    text + "\"\"\"               begins a text of several lines and, at the end of a line, ends it; so \
            does a\n                  backslash at the end of each line but the last. Pasted lines are \
            one question"
}

/// The names that `/set` knows.
pub(crate) fn settings() -> impl Iterator<Item = &'static str> {
    Sampling::SETTINGS.into_iter().chain(["max_new_tokens", "stop"])
}
