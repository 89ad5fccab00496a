//! burn-train's renderer traits on plain lines, for pipes, files and CI.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use burn::data::dataloader::Progress;
use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::{MetricDefinition, MetricEntry, MetricId};
use burn_train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines come no faster than this, except the first and the last.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

const BAR_TEMPLATE: &str = "{bar:32} {pos}/{len} {msg}, {eta} left";

/// What burn-train's `Learner` reports after every step, besides the metrics.
const STEP_EVENT: &str = "Iteration";

/// Prints a line of metrics every few seconds to stdout, and keeps a bar on stderr if that is a
/// terminal.
pub(crate) struct LineRenderer {
    definitions: Vec<MetricDefinition>,
    /// Values since the last line.
    values: Vec<(MetricId, String)>,
    /// The epoch in progress and how many there are; a run without has none.
    epochs: (usize, usize),
    /// Held-out values of the split in progress; its last ones are those of the whole split.
    held_out: Option<Vec<(MetricId, String)>>,
    last_line: Option<Instant>,
    bar: ProgressBar,
}

impl LineRenderer {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template(BAR_TEMPLATE).expect("a constant template parses");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style);
        Self {
            definitions: Vec::new(),
            values: Vec::new(),
            epochs: (0, 0),
            held_out: None,
            last_line: None,
            bar,
        }
    }

    /// `loss 1.2345  learning rate 1.000e-3`
    fn texts(&self, values: &[(MetricId, String)]) -> String {
        let text = |(id, value): &(MetricId, String)| format!("{} {value}", self.name(id));
        values.iter().map(text).collect::<Vec<_>>().join("  ")
    }

    fn name(&self, id: &MetricId) -> String {
        let definition = self.definitions.iter().find(|definition| definition.metric_id == *id);
        definition.map_or_else(String::new, |definition| definition.name.to_lowercase())
    }

    fn print(&self, line: &str) {
        // A reader that went away, as `head` does, is no reason to end the run.
        self.bar.suspend(|| _ = writeln!(io::stdout(), "{line}"));
    }
}

fn entry(state: MetricState) -> MetricEntry {
    match state {
        MetricState::Generic(entry) | MetricState::Numeric(entry, _) => entry,
    }
}

/// The newest value of each metric, in the order of their first ones.
fn replace(values: &mut Vec<(MetricId, String)>, state: MetricState) {
    let MetricEntry { metric_id, serialized_entry } = entry(state);
    match values.iter_mut().find(|(id, _)| *id == metric_id) {
        Some((_, value)) => *value = serialized_entry.formatted,
        None => values.push((metric_id, serialized_entry.formatted)),
    }
}

/// What progress is counted in.
fn unit(progress: &Progress) -> String {
    progress.unit.clone().unwrap_or_else(|| "items".to_owned())
}

impl MetricsRendererTraining for LineRenderer {
    fn update_train(&mut self, state: MetricState) {
        replace(&mut self.values, state);
    }

    fn update_valid(&mut self, state: MetricState) {
        match &mut self.held_out {
            Some(values) => replace(values, state),
            None => {
                let MetricEntry { metric_id, serialized_entry } = entry(state);
                let name = self.name(&metric_id);
                self.print(&format!("  held-out {name} {}", serialized_entry.formatted));
            }
        }
    }
}

impl TrainingProgressLogger for LineRenderer {
    fn start(&mut self, epochs: usize, epoch: usize, _: Option<usize>, label: Option<&str>) {
        self.epochs = (epoch, epochs);
        if let Some(label) = label {
            self.print(label);
        }
    }

    fn update_epoch(&mut self, finished: usize) {
        self.epochs.0 = finished + 1;
    }

    fn start_split(&mut self, split: &str, progress: &Progress) {
        self.held_out = (split != "train").then(Vec::new);
        if let (epoch, epochs @ 1..) = self.epochs
            && self.held_out.is_none()
        {
            self.print(&format!("epoch {epoch}/{epochs}"));
        }
        self.bar.reset();
        self.bar.set_message(unit(progress));
        if let Some(total) = progress.total {
            self.bar.set_length(total as u64);
        }
        self.bar.set_position(progress.items_processed as u64);
    }

    fn update_split(&mut self, progress: &Progress) {
        self.bar.set_position(progress.items_processed as u64);
        if self.held_out.is_some() {
            return;
        }
        let is_last = progress.total == Some(progress.items_processed);
        if !is_last && self.last_line.is_some_and(|last| last.elapsed() < MIN_INTERVAL) {
            return;
        }
        self.last_line = Some(Instant::now());
        let values = std::mem::take(&mut self.values);
        let unit = unit(progress);
        let unit = unit.trim_end_matches('s');
        self.print(&format!("{unit} {progress}  {}", self.texts(&values)));
    }

    fn end_split(&mut self, _progress: &Progress) {
        if let Some(values) = self.held_out.take().filter(|values| !values.is_empty()) {
            self.print(&format!("  held-out {}", self.texts(&values)));
        }
        self.bar.finish_and_clear();
    }

    fn end(&mut self) {}

    fn log_event_training(&mut self, event: String) {
        if event != STEP_EVENT {
            self.print(&format!("  {event}"));
        }
    }
}

/// Evaluation runs of burn-train's own `Evaluator` are not part of a training run.
impl MetricsRendererEvaluation for LineRenderer {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        let MetricEntry { metric_id, serialized_entry } = entry(state);
        let metric = self.name(&metric_id);
        self.print(&format!("  {} {metric} {}", name.as_str(), serialized_entry.formatted));
    }
}

impl EvaluationProgressLogger for LineRenderer {
    fn start_global_progress(&mut self, _total_tests: usize) {}

    fn start_test(&mut self, _name: &str, _progress: &Progress) {}

    fn update_test_progress(&mut self, _progress: &Progress) {}

    fn end_test(&mut self, _progress: &Progress) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, event: String) {
        self.print(&format!("  {event}"));
    }
}

impl MetricsRenderer for LineRenderer {
    fn manual_close(&mut self) {
        self.bar.finish_and_clear();
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.definitions.push(definition);
    }
}
