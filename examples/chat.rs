//! Talks with a model: `cargo run --release --example chat -- --model out/demo`.

mod command_line;
#[path = "command_line/sampling.rs"]
mod sampling;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use kernels_cubecl::DeviceSpec;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use tinyllama_infer::{
    ChatEvent, ChatSession, Generation, InferError, LoadedModel, Sampling, locate,
};

use command_line::{exit_code, say};
use sampling::{SamplingFlags, report, warn_if_cut};

const HELP: &str = "\
/help             this list
/system TEXT      instructions in front of the conversation; without TEXT, none
/set KEY VALUE    temperature, top_k, top_p, min_p, repetition_penalty, seed, max_new_tokens, or
                  stop, each time one more text that ends an answer
/clear            forget the conversation
/stats            speed of the last answer, room in the context, settings
/exit             leave; so does Ctrl-D. Ctrl-C stops an answer";

/// What a shell reports for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Ctrl-C ends the program; during an answer on a terminal it ends the answer, and the program if it
/// comes again.
struct CtrlC {
    ends_program: Arc<AtomicBool>,
    /// The answer ends before its next token.
    ends_answer: Arc<AtomicBool>,
}

impl CtrlC {
    fn listen() -> Result<Self> {
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

    fn answer_begins(&self) {
        self.ends_answer.store(false, Ordering::Relaxed);
        self.ends_program.store(!std::io::stdin().is_terminal(), Ordering::Relaxed);
    }

    fn answer_is_over(&self) {
        self.ends_program.store(true, Ordering::Relaxed);
    }
}

/// Chat with a model in the terminal
///
/// With --prompt it answers once; with --json as one object with the keys of generate. Without, it
/// reads questions line by line: /help lists the commands, Ctrl-C stops an answer.
#[derive(Parser, Debug)]
struct Args {
    /// Run folder, checkpoint, Hugging Face folder, or hub id (downloaded once)
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
}

fn main() -> ExitCode {
    exit_code(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let sampling = args.flags.sampling(args.temperature)?;
    let device = args.device.resolve()?;
    let ctrl_c = CtrlC::listen()?;
    let folder = locate(&args.model)?;
    let loaded = LoadedModel::load(&folder, &device)?;
    let mut session = ChatSession::new(&loaded, sampling, args.max_new_tokens)?;
    session.set_system(args.system);
    session.add_stop_strings(args.flags.stop);
    eprintln!("model: {}", folder.display());
    eprintln!("device: {}", kernels_cubecl::describe(&device));
    if loaded.chat_template.is_none() {
        eprintln!(
            "warning: this model has no chat template; it is asked in the form of guanaco, which \
             `--example sft` teaches, and continues text rather than answering until then"
        );
    }
    let Some(prompt) = args.prompt else { return converse(&mut session, &ctrl_c) };
    let answer = answer(&mut session, &ctrl_c, &prompt, !args.json)?;
    if args.json {
        say(serde_json::to_string(&answer)?);
    }
    report(&answer);
    Ok(())
}

/// Reads and answers lines until the input ends.
fn converse(session: &mut ChatSession<'_>, ctrl_c: &CtrlC) -> Result<()> {
    let mut editor =
        DefaultEditor::new().map_err(|error| anyhow!("cannot open the terminal: {error}"))?;
    // A chat without history is still a chat: no home directory, or a full disk, is no reason to end.
    let history = std::io::stdin().is_terminal().then(history_file).flatten();
    if let Some(file) = &history {
        editor.load_history(file).ok();
    }
    eprintln!("/help lists the commands");
    let mut last = None;
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => bail!("cannot read a line: {error}"),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        editor.add_history_entry(line).ok();
        let outcome = match line.strip_prefix('/') {
            Some("exit") => break,
            Some("stats") => {
                stats(session, last.as_ref());
                Ok(())
            }
            Some(words) => command(session, words),
            None => answer(session, ctrl_c, line, true).map(|generation| last = Some(generation)),
        };
        if let Err(error) = outcome {
            eprintln!("error: {error}");
        }
    }
    if let Some(file) = &history {
        editor.save_history(file).ok();
    }
    Ok(())
}

/// Carries out a line that began with a slash.
fn command(session: &mut ChatSession<'_>, words: &str) -> Result<()> {
    let (name, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    let rest = rest.trim();
    match name {
        "help" => eprintln!("{HELP}"),
        "system" => session.set_system((!rest.is_empty()).then(|| rest.to_owned())),
        "set" => {
            let Some((key, value)) = rest.split_once(char::is_whitespace) else {
                bail!("write /set KEY VALUE, for example /set temperature 0");
            };
            set(session, key, value.trim())?;
        }
        "clear" => session.clear(),
        _ => bail!("there is no command /{name}; /help lists them"),
    }
    Ok(())
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

/// Asks and, if `stream`, prints the answer as it comes.
fn answer(
    session: &mut ChatSession<'_>,
    ctrl_c: &CtrlC,
    question: &str,
    stream: bool,
) -> Result<Generation> {
    let mut stdout = std::io::stdout();
    ctrl_c.answer_begins();
    let generation = session.ask(question, &ctrl_c.ends_answer, |event| match event {
        ChatEvent::Forgot { messages } => eprintln!(
            "warning: the conversation no longer fits into the model's context; its {messages} \
             oldest messages are forgotten"
        ),
        ChatEvent::Text(piece) if stream => {
            // A reader that went away wants no more text.
            let written = write!(stdout, "{piece}").and_then(|()| stdout.flush());
            ctrl_c.ends_answer.fetch_or(written.is_err(), Ordering::Relaxed);
        }
        ChatEvent::Text(_) => {}
    });
    ctrl_c.answer_is_over();
    let generation = generation?;
    if stream {
        say("");
    }
    warn_if_cut(&generation);
    Ok(generation)
}

fn stats(session: &ChatSession<'_>, last: Option<&Generation>) {
    let (held, limit) = session.context_tokens();
    match last {
        Some(generation) => report(generation),
        None => eprintln!("no answer yet"),
    }
    eprintln!("{held} of {limit} tokens in the context, {} messages", session.turns().len());
    let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } =
        session.sampling();
    eprintln!(
        "temperature {temperature}, top_k {top_k}, top_p {top_p}, min_p {min_p}, repetition_penalty \
         {repetition_penalty}, seed {seed}, max_new_tokens {}, stop {:?}",
        session.max_new_tokens(),
        session.stop_strings()
    );
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
