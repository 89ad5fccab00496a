//! Talks with a model: `cargo run --release --example chat -- --model out/demo`.

mod command_line;
#[path = "command_line/commands.rs"]
mod commands;
#[path = "command_line/ctrl_c.rs"]
mod ctrl_c;
#[path = "command_line/input.rs"]
mod input;
#[path = "command_line/line_editor.rs"]
mod line_editor;
#[path = "command_line/loading.rs"]
mod loading;
#[path = "command_line/markdown.rs"]
mod markdown;
#[path = "command_line/memory.rs"]
mod memory;
#[path = "command_line/sampling.rs"]
mod sampling;
#[path = "command_line/saved_chat.rs"]
mod saved_chat;

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use burn::tensor::Device;
use clap::Parser;
use kernels_cubecl::DeviceSpec;
use tinyllama_infer::{
    ChatEvent, ChatSession, FinishReason, Generation, InferError, LoadedModel, Sampling, locate,
};

use command_line::{exit_code, say};
use ctrl_c::CtrlC;
use input::{Input, Lines, split_word};
use line_editor::{Line, LineEditor, is_dumb};
use loading::with_bar;
use markdown::Markdown;
use sampling::{SamplingFlags, report, warn_if_cut};
use saved_chat::SavedChat;

/// Loading that took longer is worth a line.
const LONG: Duration = Duration::from_millis(500);

/// Chat with a model in the terminal
///
/// With --prompt it answers once; with --json as one object with the keys of generate. Without, it
/// reads questions line by line: /help lists the commands, Ctrl-C stops an answer. `"""` begins and
/// ends a question of several lines.
#[derive(Parser, Debug)]
struct Args {
    /// Run folder, checkpoint, Hugging Face folder, .gguf file, llama2.c .bin, or hub id (downloaded once)
    #[arg(long, value_name = "PATH", default_value = "TinyLlama/TinyLlama-1.1B-Chat-v1.0")]
    model: String,
    /// Answer this and leave
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Instructions in front of the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f64,
    /// Most tokens of an answer; fewer if the model's context ends before
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_new_tokens: usize,
    #[command(flatten)]
    flags: SamplingFlags,
    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, value_name = "D", default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// With --prompt: print one JSON object instead of streaming
    #[arg(long, requires = "prompt")]
    json: bool,
    /// Show Markdown as the model writes it; the default anywhere but on a terminal, and with NO_COLOR
    #[arg(long)]
    plain: bool,
}

/// A conversation, and what is shown of it.
struct Chat<'a> {
    session: ChatSession<'a>,
    ctrl_c: CtrlC,
    /// Path, device and size of the model.
    model: String,
    renders: bool,
    last: Option<Generation>,
}

fn main() -> ExitCode {
    exit_code(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let sampling = args.flags.sampling(args.temperature)?;
    let device = args.device.resolve()?;
    let ctrl_c = CtrlC::listen()?;
    let folder = locate(&args.model)?;
    let loaded = load(&folder, &device)?;
    let mut session = ChatSession::new(&loaded, sampling, args.max_new_tokens)?;
    session.set_system(args.system);
    session.add_stop_strings(args.flags.stop);
    eprintln!("model: {}", folder.display());
    let device = kernels_cubecl::describe(&device);
    eprintln!("device: {device}");
    if loaded.chat_template.is_none() {
        eprintln!(
            "warning: this model has no chat template; it is asked in the form of guanaco, which \
             `--example sft` teaches, and continues text rather than answering until then"
        );
    }
    let model = format!(
        "{}, {:.1}M parameters, on {device}",
        folder.display(),
        loaded.model.config().num_parameters() as f64 / 1e6
    );
    let renders = !args.plain && !args.json && shows_styles();
    let mut chat = Chat { session, ctrl_c, model, renders, last: None };
    let Some(prompt) = args.prompt else { return chat.converse() };
    let answer = chat.answer(Some(&prompt), !args.json)?.expect("something was asked");
    if args.json {
        say(serde_json::to_string(&answer)?);
    }
    report(&answer);
    Ok(())
}

/// Loads the model, and says so where that takes a while.
fn load(model: &Path, device: &Device) -> Result<LoadedModel> {
    let start = Instant::now();
    let loaded = with_bar(model, |progress| LoadedModel::load_with(model, device, progress))?;
    let took = start.elapsed();
    if took > LONG {
        eprintln!("loaded {} in {:.1} s", model.display(), took.as_secs_f64());
    }
    Ok(loaded)
}

/// Whether stdout takes styles and its user wants them (<https://no-color.org>).
fn shows_styles() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_dumb() && !no_color
}

impl Chat<'_> {
    /// Reads and answers until the input ends.
    fn converse(&mut self) -> Result<()> {
        let mut editor = LineEditor::open()?;
        let mut lines = Lines::default();
        eprintln!("/help lists the commands");
        loop {
            let input = match editor.read(if lines.is_open() { ". " } else { "> " })? {
                Line::Text(entry) => lines.push(&entry),
                Line::Interrupted => {
                    lines.discard();
                    eprintln!("Ctrl-D or /exit leaves");
                    continue;
                }
                Line::End if lines.is_quoted() => {
                    eprintln!("error: the text that \"\"\" began has no end; it was not asked");
                    break;
                }
                Line::End => match lines.end() {
                    Some(input) => Some(input),
                    None => break,
                },
            };
            let Some(input) = input else { continue };
            editor.remember(input.history_entry());
            let outcome = match &input {
                Input::Question(text) => self.ask(Some(text)).map(ControlFlow::Continue),
                Input::Command { name, rest } => self.command(name, rest),
            };
            match outcome {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => eprintln!("error: {error}"),
            }
        }
        editor.close();
        Ok(())
    }

    /// Carries out a command; breaks where it ends the chat.
    fn command(&mut self, name: &str, rest: &str) -> Result<ControlFlow<()>> {
        let session = &mut self.session;
        match name {
            "help" => eprintln!("{}", commands::help()),
            "system" => session.set_system((!rest.is_empty()).then(|| rest.to_owned())),
            "set" => match split_word(rest) {
                (_, "") => bail!("write /set KEY VALUE, for example /set temperature 0"),
                (key, value) => set(session, key, value)?,
            },
            "regen" => {
                if session.sampling().temperature == 0.0 {
                    eprintln!("the temperature is 0, which gives the same answer again");
                }
                self.ask(None)?;
            }
            "undo" => match session.undo() {
                Some(question) => eprintln!("forgot: {}", shown(&question.content)),
                None => bail!("nothing was asked yet"),
            },
            "clear" => session.clear(),
            "history" => self.history(),
            "save" | "load" if rest.is_empty() => {
                bail!("write /{name} FILE, for example /{name} chat.json")
            }
            "save" => self.save(Path::new(rest))?,
            "load" => self.load(Path::new(rest))?,
            "stats" => self.stats(),
            "exit" => return Ok(ControlFlow::Break(())),
            _ => bail!("there is no command /{name}; /help lists them"),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Asks in the conversation; without a question, the last one again.
    fn ask(&mut self, question: Option<&str>) -> Result<()> {
        let Some(generation) = self.answer(question, true)? else { bail!("nothing was asked yet") };
        if generation.finish_reason == FinishReason::Cancelled {
            eprintln!("stopped; /regen asks again, /undo forgets the question");
        }
        self.last = Some(generation);
        Ok(())
    }

    /// Asks and, if `stream`, prints the answer as it comes. `None` where there is no last question.
    fn answer(&mut self, question: Option<&str>, stream: bool) -> Result<Option<Generation>> {
        let mut stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let mut markdown = self.renders.then(Markdown::default);
        let ends_answer = self.ctrl_c.ends_answer.clone();
        let on_event = |event: ChatEvent<'_>| match event {
            ChatEvent::Forgot { messages } => eprintln!(
                "warning: the conversation no longer fits into the model's context; its \
                 {messages} oldest messages are forgotten"
            ),
            ChatEvent::Text(piece) if stream => {
                let piece = match &mut markdown {
                    Some(markdown) => markdown.push(piece),
                    None if is_terminal => shown(piece),
                    None => piece.to_owned(),
                };
                // A reader that went away wants no more text.
                let written = write!(stdout, "{piece}").and_then(|()| stdout.flush());
                ends_answer.fetch_or(written.is_err(), Ordering::Relaxed);
            }
            ChatEvent::Text(_) => {}
        };
        self.ctrl_c.answer_begins();
        let generation = match question {
            Some(question) => self.session.ask(question, &ends_answer, on_event).map(Some),
            None => self.session.regenerate(&ends_answer, on_event),
        };
        self.ctrl_c.answer_is_over();
        let end = markdown.map(Markdown::finish).unwrap_or_default();
        // An answer that failed midway leaves no style on.
        if stream && (matches!(generation, Ok(Some(_))) || !end.is_empty()) {
            say(end);
        }
        let generation = generation?;
        generation.iter().for_each(warn_if_cut);
        Ok(generation)
    }

    fn history(&self) {
        if let Some(system) = self.session.system() {
            eprintln!("system: {}", shown(system));
        }
        for message in self.session.turns() {
            eprintln!("{}: {}", message.role.as_str(), shown(&message.content));
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let chat = SavedChat {
            system: self.session.system().map(str::to_owned),
            messages: self.session.turns().to_vec(),
            sampling: *self.session.sampling(),
        };
        saved_chat::write(path, &chat)?;
        eprintln!("saved {} messages to {}", chat.messages.len(), path.display());
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let SavedChat { system, messages, sampling } =
            saved_chat::read(path, self.session.sampling())?;
        let count = messages.len();
        self.session
            .restore(system, messages)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        self.session.set_sampling(sampling)?;
        eprintln!("loaded {count} messages from {}; /history shows them", path.display());
        Ok(())
    }

    fn stats(&self) {
        let session = &self.session;
        let (held, limit) = session.context_tokens();
        match &self.last {
            Some(generation) => report(generation),
            None => eprintln!("no answer yet"),
        }
        eprintln!("{held} of {limit} tokens in the context, {} messages", session.turns().len());
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } =
            session.sampling();
        eprintln!(
            "temperature {temperature}, top_k {top_k}, top_p {top_p}, min_p {min_p}, \
             repetition_penalty {repetition_penalty}, seed {seed}, max_new_tokens {}, stop {:?}",
            session.max_new_tokens(),
            session.stop_strings()
        );
        eprintln!("model {}", self.model);
        let cache = memory::show(session.cache_bytes() as u64);
        match memory::resident() {
            Some(memory) => eprintln!(
                "memory: KV cache {cache}, process {}, at most {}",
                memory::show(memory.current_bytes),
                memory::show(memory.peak_bytes)
            ),
            None => eprintln!("memory: KV cache {cache}, process unknown on this system"),
        }
    }
}

fn set(session: &mut ChatSession<'_>, key: &str, value: &str) -> Result<()> {
    if key == "max_new_tokens" {
        let Ok(tokens) = value.parse() else {
            bail!("`max_new_tokens` is `{value}`, but must be a whole number");
        };
        return Ok(session.set_max_new_tokens(tokens)?);
    }
    if key == "stop" {
        session.add_stop_strings([value.to_owned()]);
        return Ok(());
    }
    let mut sampling = *session.sampling();
    sampling.set(key, value).map_err(|error| match error {
        InferError::UnknownSetting { name, known } => {
            InferError::UnknownSetting { name, known: format!("{known}, max_new_tokens, stop") }
        }
        other => other,
    })?;
    Ok(session.set_sampling(sampling)?)
}

/// A text without what would move the cursor.
fn shown(text: &str) -> String {
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}
