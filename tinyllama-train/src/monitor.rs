//! Showing a run through burn-train's renderers: its dashboard on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;

use burn::data::dataloader::Progress;
use burn_train::Interrupter;
use burn_train::metric::{
    MetricAttributes, MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer};

use crate::lines::LineRenderer;
use crate::metrics::{MetricsFile, StepRecord};
use crate::train_error::TrainError;

/// The name under which the training and the held-out loss share a plot.
const LOSS: &str = "Loss";
const LEARNING_RATE: &str = "Learning rate";
const GRAD_NORM: &str = "Gradient norm";
const TOKENS_PER_S: &str = "Tokens/s";
const MFU: &str = "MFU";

/// The two outputs of a run in progress: a renderer for people, a file for programs.
pub struct Monitor {
    renderer: Option<Box<dyn MetricsRenderer>>,
    has_dashboard: bool,
    file: Option<MetricsFile>,
    interrupter: Interrupter,
}

/// burn-train's dashboard, and true, when stdin and stdout are a terminal; else lines, and false.
///
/// The dashboard reads keys in raw mode: Ctrl-C is then a key without a meaning and no signal, unless
/// the caller sets the terminal's `ISIG` again.
pub fn terminal_renderer(interrupter: &Interrupter) -> (Box<dyn MetricsRenderer>, bool) {
    match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        true => (Box::new(TuiMetricsRendererWrapper::new(interrupter.clone(), None)), true),
        false => (Box::new(LineRenderer::new()), false),
    }
}

impl Monitor {
    /// Shows the run by a [`terminal_renderer`]. Whoever calls [`Interrupter::stop`], the dashboard's
    /// `q` included, ends the run after its current step.
    pub fn for_terminal(interrupter: Interrupter, file: Option<MetricsFile>) -> Self {
        let (mut renderer, has_dashboard) = terminal_renderer(&interrupter);
        for (name, higher_is_better) in
            [(LOSS, false), (LEARNING_RATE, false), (GRAD_NORM, false), (TOKENS_PER_S, true)]
        {
            renderer.register_metric(definition(name, higher_is_better));
        }
        Self { renderer: Some(renderer), has_dashboard, file, interrupter }
    }

    /// Shows nothing.
    pub fn quiet(interrupter: Interrupter, file: Option<MetricsFile>) -> Self {
        Self { renderer: None, has_dashboard: false, file, interrupter }
    }

    /// Whether the run is shown on burn-train's dashboard.
    pub fn has_dashboard(&self) -> bool {
        self.has_dashboard
    }

    /// Whether the run was asked to stop.
    pub fn should_stop(&self) -> bool {
        self.interrupter.should_stop()
    }

    /// `shows_mfu` says whether the steps will come with one.
    pub(crate) fn start(&mut self, step: u64, max_steps: u64, label: &str, shows_mfu: bool) {
        if let Some(renderer) = &mut self.renderer {
            if shows_mfu {
                renderer.register_metric(definition(MFU, true));
            }
            // No epochs: the run is one pass of `max_steps` steps.
            renderer.start(0, 0, Some(max_steps as usize), Some(label));
            renderer.start_split("train", &progress(step, max_steps));
        }
    }

    pub(crate) fn step(&mut self, record: &StepRecord, max_steps: u64) -> Result<(), TrainError> {
        if let Some(file) = &mut self.file {
            file.write(record)?;
        }
        let Some(renderer) = &mut self.renderer else { return Ok(()) };
        let StepRecord { loss, lr, grad_norm, tokens_per_s, mfu, .. } = *record;
        renderer.update_train(state(LOSS, loss, format!("{loss:.4}")));
        renderer.update_train(state(LEARNING_RATE, lr, format!("{lr:.3e}")));
        renderer.update_train(state(GRAD_NORM, grad_norm, format!("{grad_norm:.3}")));
        renderer.update_train(state(TOKENS_PER_S, tokens_per_s, format!("{tokens_per_s:.0}")));
        if let Some(mfu) = mfu {
            renderer.update_train(state(MFU, mfu, format!("{:.1} %", 100.0 * mfu)));
        }
        renderer.update_split(&progress(record.step, max_steps));
        Ok(())
    }

    pub(crate) fn held_out_loss(&mut self, loss: f64) {
        if let Some(renderer) = &mut self.renderer {
            renderer.update_valid(state(LOSS, loss, format!("{loss:.4}")));
        }
    }

    pub(crate) fn event(&mut self, event: &str) {
        if let Some(renderer) = &mut self.renderer {
            renderer.log_event_training(event.to_owned());
        }
    }

    pub(crate) fn end(&mut self, step: u64, max_steps: u64) {
        // Dropping the renderer gives the terminal back.
        if let Some(mut renderer) = self.renderer.take() {
            renderer.end_split(&progress(step, max_steps));
            renderer.end();
        }
    }

    /// Writes the last line of the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_final(&mut self, record: &crate::FinalRecord) -> Result<(), TrainError> {
        self.file.as_mut().map_or(Ok(()), |file| file.write(record))
    }
}

fn id(name: &str) -> MetricId {
    MetricId::new(Arc::new(name.to_owned()))
}

fn definition(name: &str, higher_is_better: bool) -> MetricDefinition {
    MetricDefinition {
        metric_id: id(name),
        name: Arc::new(name.to_owned()),
        description: None,
        attributes: MetricAttributes::Numeric(NumericAttributes { unit: None, higher_is_better }),
    }
}

fn state(name: &str, value: f64, formatted: String) -> MetricState {
    let entry = SerializedEntry::new(formatted, value.to_string());
    MetricState::Numeric(MetricEntry::new(id(name), entry), Some(NumericEntry::Value(value)))
}

fn progress(step: u64, max_steps: u64) -> Progress {
    Progress::new(step as usize, max_steps as usize, Some("steps".to_owned()))
}
