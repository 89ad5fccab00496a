//! `chat` as a user at a terminal knows it, with a model that answers by a script.

mod pseudo_terminal;
mod scripted_model;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::examples::example;
use pseudo_terminal::PseudoTerminal;
use scripted_model::{ENDLESS, SHORT};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
/// What a terminal sends around pasted text.
const PASTE: [&str; 2] = ["\x1b[200~", "\x1b[201~"];
/// How the line editor begins a line: pastes are bracketed, the screen waits, the line is cleared.
const PROMPT: &str = "\x1b[?2004h\x1b[?2026h\r\x1b[K> ";
const CONTINUED: &str = "\x1b[?2004h\x1b[?2026h\r\x1b[K. ";

/// A folder with the model, for the files and the history of a chat.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("model")).expect("it is empty");
        scripted_model::write(&folder.path().join("model"));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A chat with this model, in this folder.
    fn chat(&self, more: &[&str]) -> Command {
        let mut command = example("chat");
        command.args(["--model", "model", "--device", "cpu"]).args(more).current_dir(&self.0);
        command.env("XDG_DATA_HOME", self.path("data")).env("TERM", "xterm").env_remove("NO_COLOR");
        command
    }

    /// As [`Place::chat`], on a terminal that shows its first prompt.
    fn start(&self, more: &[&str]) -> PseudoTerminal {
        let mut terminal = PseudoTerminal::start(&mut self.chat(more), None);
        terminal.expect(PROMPT);
        terminal
    }

    /// The messages of a saved chat, each with its role.
    fn messages(&self, name: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path(name)).expect("it was saved");
        let chat: Value = serde_json::from_str(&text).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let messages = chat["messages"].as_array().expect("a list").iter();
        messages.map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }
}

/// A line, and all until the next prompt.
#[track_caller]
fn enter(terminal: &mut PseudoTerminal, line: &str) -> String {
    terminal.send(line);
    terminal.send("\r");
    terminal.expect(PROMPT)
}

#[track_caller]
fn shows(terminal: &mut PseudoTerminal, line: &str, expected: &str) {
    let shown = enter(terminal, line);
    assert!(shown.contains(expected), "{line:?} shows no {expected:?} but {shown:?}");
}

#[test]
fn several_lines_are_one_question() {
    let place = Place::new();
    let mut terminal = place.start(&[]);
    terminal.send("\"\"\"first\r");
    terminal.expect(CONTINUED);
    shows(&mut terminal, "second?\"\"\"", SHORT);
    terminal.send("third \\\r");
    terminal.expect(CONTINUED);
    shows(&mut terminal, "fourth?", SHORT);
    let [begin, end] = PASTE;
    shows(&mut terminal, &format!("{begin}fifth\r  sixth?{end}"), SHORT);
    // The history gives them back whole.
    shows(&mut terminal, UP, SHORT);
    // Ctrl-C forgets what was begun.
    terminal.send("\"\"\"never asked\r");
    terminal.expect(CONTINUED);
    terminal.send(CTRL_C);
    terminal.expect(PROMPT);
    shows(&mut terminal, "/save chat.json", "saved 8 messages to chat.json");
    let questions: Vec<String> =
        place.messages("chat.json").into_iter().step_by(2).map(|(_, text)| text).collect();
    let pasted = "fifth\n  sixth?";
    assert_eq!(questions, ["first\nsecond?", "third \nfourth?", pasted, pasted]);
    terminal.send(CTRL_D);
    assert!(terminal.end().0.success());

    // The next chat knows the history too.
    let mut terminal = place.start(&[]);
    shows(&mut terminal, &format!("{UP}{UP}"), SHORT);
    shows(&mut terminal, "/history", "sixth?");
}

#[test]
fn ctrl_c_ends_the_answer_and_not_the_chat() {
    let place = Place::new();
    let mut terminal = place.start(&["--max-new-tokens", "30000"]);
    terminal.send("sing!\r");
    terminal.expect(&ENDLESS.repeat(2));
    terminal.send(CTRL_C);
    terminal.expect("stopped");
    terminal.expect(PROMPT);
    shows(&mut terminal, "/stats", "end: cancelled");
    shows(&mut terminal, "well?", SHORT);
    // At the prompt it only empties the line.
    terminal.send("half a question");
    terminal.send(CTRL_C);
    terminal.expect("Ctrl-D or /exit leaves");
    terminal.expect(PROMPT);
    shows(&mut terminal, "/stats", "4 messages");
    terminal.send("/exit\r");
    assert!(terminal.end().0.success());
}

#[test]
fn undo_and_regen_change_the_end_of_the_conversation() {
    let place = Place::new();
    let mut terminal = place.start(&["--temperature", "1", "--max-new-tokens", "30"]);
    shows(&mut terminal, "/undo", "error: nothing was asked yet");
    shows(&mut terminal, "/regen", "error: nothing was asked yet");
    shows(&mut terminal, "well?", SHORT);
    enter(&mut terminal, "draw~");
    enter(&mut terminal, "/save first.json");
    enter(&mut terminal, "/regen");
    enter(&mut terminal, "/save second.json");
    let (first, second) = (place.messages("first.json"), place.messages("second.json"));
    assert_eq!((first.len(), &first[..3]), (4, &second[..3]));
    let [(_, first), (_, second)] = [&first[3], &second[3]];
    assert!(first.len() == 30 && second.len() == 30, "{first} {second}");
    assert_ne!(first, second, "30 letters of 26 are not drawn twice");
    shows(&mut terminal, "/undo", "forgot: draw~");
    let shown = enter(&mut terminal, "/history");
    assert!(shown.contains("user: well?") && !shown.contains("draw~"), "{shown:?}");
    shows(&mut terminal, "/undo", "forgot: well?");
    shows(&mut terminal, "/stats", "0 messages");
}

#[test]
fn a_saved_chat_goes_on_in_another_process() {
    let place = Place::new();
    let mut terminal = place.start(&["--top-k", "7"]);
    enter(&mut terminal, "/system Be brief.");
    shows(&mut terminal, "well?", SHORT);
    shows(&mut terminal, "/save", "error: write /save FILE");
    shows(&mut terminal, "/save a chat.json", "saved 2 messages to a chat.json");
    terminal.send(CTRL_D);
    assert!(terminal.end().0.success());

    fs::write(place.path("notes.txt"), "shopping list\n").expect("a new file");
    let mut terminal = place.start(&[]);
    // Tab completes commands and file names.
    shows(&mut terminal, "/lo\ta ch\t", "loaded 2 messages from a chat.json");
    let shown = enter(&mut terminal, "/history");
    for expected in ["system: Be brief.", "user: well?", "assistant: An answer."] {
        assert!(shown.contains(expected), "no {expected:?} in {shown:?}");
    }
    let shown = enter(&mut terminal, "/stats");
    for expected in ["top_k 7,", "2 messages", "model model, 0.1M parameters", "KV cache", "MiB"] {
        assert!(shown.contains(expected), "no {expected:?} in {shown:?}");
    }
    shows(&mut terminal, "/load notes.txt", "notes.txt: not JSON");
    shows(&mut terminal, "/save notes.txt", "left as it is");
    assert_eq!(fs::read(place.path("notes.txt")).expect("it exists"), b"shopping list\n");
    shows(&mut terminal, "/load absent.json", "absent.json: No such file");
    fs::write(place.path("odd.json"), r#"{"messages":[{"role":"assistant","content":"a"}]}"#)
        .expect("a new file");
    shows(&mut terminal, "/load odd.json", "odd.json: `role` is assistant in messages[0]");
    shows(&mut terminal, "/stats", "2 messages");
}

#[test]
fn markdown_is_rendered_for_a_terminal_that_wants_it() {
    let place = Place::new();
    let plain = scripted_model::MARKDOWN.concat();
    let shown = enter(&mut place.start(&[]), "show#");
    let rendered = "\x1b[1mTitle\x1b[0m\nsome \x1b[1mbold\x1b[0m text\n• \x1b[36mcode\x1b[0m\n  \
                    \x1b[2mfn\x1b[0m\n";
    let lines = |text: &str| text.replace('\n', "\r\n");
    assert!(shown.contains(&lines(rendered)), "{shown:?}");
    let shown = enter(&mut place.start(&["--plain"]), "show#");
    assert!(shown.contains(&lines(&plain)), "{shown:?}");
    let mut colorless = PseudoTerminal::start(place.chat(&[]).env("NO_COLOR", "1"), None);
    colorless.expect(PROMPT);
    let shown = enter(&mut colorless, "show#");
    assert!(shown.contains(&lines(&plain)), "{shown:?}");

    // A terminal without escape sequences gets none at all.
    let mut dumb = PseudoTerminal::start(place.chat(&[]).env("TERM", "dumb"), None);
    dumb.expect("\n> ");
    dumb.send("\"\"\"show\rit#\"\"\"\r");
    dumb.expect(". ");
    dumb.expect(&lines(&plain));
    dumb.expect("> ");
    dumb.send(CTRL_D);
    let (status, shown) = dumb.end();
    assert!(status.success() && !shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn answers_to_a_pipe_or_file_are_the_text_alone() {
    let place = Place::new();
    let answer = scripted_model::MARKDOWN.concat() + "\n";
    // Questions from a pipe, by the rules of a terminal.
    let lines = "\"\"\"show\nit#\"\"\"\nwell\\\nwell?\n/save chat.json\nlast\\";
    let mut child = place
        .chat(&[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("it listens");
    let output = child.wait_with_output().expect("it was started");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && !errors.contains('\x1b'), "{errors}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    // A question that ends with a letter is answered by letters.
    assert!(said.starts_with(&format!("{answer}{SHORT}\n")), "{said:?}");
    let messages = place.messages("chat.json");
    assert_eq!((messages[0].1.as_str(), messages[2].1.as_str()), ("show\nit#", "well\nwell?"));

    // Questions from a terminal: prompts and keys are not part of the file.
    let path = place.path("answers.txt");
    let file = File::create(&path).expect("a new file");
    let mut terminal = PseudoTerminal::start(&mut place.chat(&[]), Some(file));
    terminal.expect(PROMPT);
    enter(&mut terminal, "show#");
    terminal.send(CTRL_D);
    assert!(terminal.end().0.success());
    assert_eq!(fs::read_to_string(path).expect("it exists"), answer);
}

#[test]
fn a_text_without_its_end_is_not_asked() {
    let place = Place::new();
    let mut child = place
        .chat(&[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child.stdin.take().expect("it is piped").write_all(b"\"\"\"well?\n").expect("it listens");
    let output = child.wait_with_output().expect("it was started");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.stdout.is_empty() && errors.contains("has no end"), "{errors}");
}
