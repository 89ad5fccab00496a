//! What all examples have in common: how a line, an error or another example is written.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Prints an error as one message: those of this project name their cause themselves.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.to_string();
            writeln!(std::io::stderr(), "error: {}", message.trim_end()).ok();
            ExitCode::FAILURE
        }
    }
}

/// Prints a line to stdout. A reader that went away, as `head` does, is no reason to end.
pub(crate) fn say(line: impl Display) {
    writeln!(std::io::stdout(), "{line}").ok();
}
