//! Ctrl-C in a chat: during an answer it ends the answer.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// What a shell reports for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Ctrl-C ends the program; during an answer on a terminal it ends the answer, and the program if it
/// comes again.
pub(crate) struct CtrlC {
    ends_program: Arc<AtomicBool>,
    /// The answer ends before its next token, or the next chunk of what it answers.
    pub(crate) ends_answer: Arc<AtomicBool>,
}

impl CtrlC {
    /// Takes the signal over.
    pub(crate) fn listen() -> Result<Self> {
        let ctrl_c = Self {
            ends_program: Arc::new(AtomicBool::new(true)),
            ends_answer: Arc::new(AtomicBool::new(false)),
        };
        // In this order: the first signal sets what the second one finds set.
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED, ctrl_c.ends_program.clone())
            .and_then(|_| flag::register(SIGINT, ctrl_c.ends_program.clone()))
            .and_then(|_| flag::register(SIGINT, ctrl_c.ends_answer.clone()))
            .map_err(|error| anyhow!("cannot listen for Ctrl-C: {error}"))?;
        Ok(ctrl_c)
    }

    /// From here on Ctrl-C ends the answer, if a terminal sends it.
    pub(crate) fn answer_begins(&self) {
        self.ends_answer.store(false, Ordering::Relaxed);
        self.ends_program.store(!std::io::stdin().is_terminal(), Ordering::Relaxed);
    }

    /// From here on it ends the program.
    pub(crate) fn answer_is_over(&self) {
        self.ends_program.store(true, Ordering::Relaxed);
    }
}
