//! Ctrl-C in a training run: once ends it after the current step, twice at once.

use std::io::Write;
use std::process::exit;

use anyhow::{Result, anyhow};
use tinyllama_train::Interrupter;

use crate::terminal::Terminal;

/// What a shell reports for a program that SIGINT has ended.
const INTERRUPTED: i32 = 130;

/// Lets Ctrl-C, SIGTERM and SIGHUP stop the run; a second one ends the process without saving.
pub(crate) fn listen(interrupter: &Interrupter) -> Result<()> {
    let stop = interrupter.clone();
    let terminal = Terminal::now();
    ctrlc::set_handler(move || {
        let mut stderr = std::io::stderr();
        if stop.should_stop() {
            terminal.restore();
            writeln!(stderr, "stopped at once; what came after the last checkpoint is lost").ok();
            exit(INTERRUPTED);
        }
        stop.stop(Some("a signal"));
        if !terminal.has_changed() {
            writeln!(stderr, "stopping after this step; once more stops at once, unsaved").ok();
        }
    })
    .map_err(|error| anyhow!("cannot listen for Ctrl-C: {error}"))
}
