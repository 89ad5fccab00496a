//! The terminal beside burn-train's dashboard, which switches it to raw mode.

#[cfg(unix)]
pub(crate) use unix::{Terminal, pass_signals_through_dashboard};

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, Write};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use rustix::stdio::stdin;
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    /// How long a dashboard may take to appear.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Leaves the alternate screen, stops mouse reports, shows the cursor.
    const LEAVE_DASHBOARD: &str =
        "\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?1049l\x1b[?25h";

    /// A terminal's settings; `None` where stdin is none.
    pub(crate) struct Terminal(Option<Termios>);

    impl Terminal {
        pub(crate) fn now() -> Self {
            Self(std::io::stdin().is_terminal().then(|| tcgetattr(stdin()).ok()).flatten())
        }

        /// Whether a dashboard reads keys instead of lines since.
        pub(crate) fn has_changed(&self) -> bool {
            let lines = |terminal: &Self| {
                terminal
                    .0
                    .as_ref()
                    .map(|settings| settings.local_modes.contains(LocalModes::ICANON))
            };
            lines(self) != lines(&Self::now())
        }

        /// Takes the terminal back from a dashboard, for a process that ends at once.
        pub(crate) fn restore(&self) {
            if let Some(before) = self.0.as_ref().filter(|_| self.has_changed()) {
                tcsetattr(stdin(), OptionalActions::Now, before).ok();
                write!(std::io::stdout(), "{LEAVE_DASHBOARD}").ok();
                std::io::stdout().flush().ok();
            }
        }
    }

    /// The dashboard takes every key for itself, Ctrl-C too, but only looks for `q`. This gives
    /// Ctrl-C back its signal; the dashboard restores all settings when it closes.
    pub(crate) fn pass_signals_through_dashboard() {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let Ok(mut settings) = tcgetattr(stdin()) else { return };
            if settings.local_modes.contains(LocalModes::ISIG) {
                // The dashboard's thread has not begun.
                sleep(Duration::from_millis(5));
                continue;
            }
            settings.local_modes |= LocalModes::ISIG;
            // Ctrl-Z and Ctrl-\ would leave the terminal as it is; 0 is no key.
            settings.special_codes[SpecialCodeIndex::VSUSP] = 0;
            settings.special_codes[SpecialCodeIndex::VQUIT] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &settings).ok();
            return;
        }
    }
}

/// Elsewhere the dashboard's own `q` is the only way to stop it.
#[cfg(not(unix))]
pub(crate) fn pass_signals_through_dashboard() {}

#[cfg(not(unix))]
pub(crate) struct Terminal;

#[cfg(not(unix))]
impl Terminal {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn has_changed(&self) -> bool {
        false
    }

    pub(crate) fn restore(&self) {}
}
