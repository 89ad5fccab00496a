//! With a random model of letters: what it says is noise, but the bookkeeping is exact.

use super::*;
use crate::generate::FinishReason;
use crate::testing::letters_model;

static GO_ON: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Default)]
struct Seen {
    text: String,
    forgotten: Vec<usize>,
}

impl Seen {
    fn event(&mut self, event: ChatEvent<'_>) {
        match event {
            ChatEvent::Forgot { messages } => self.forgotten.push(messages),
            ChatEvent::Text(piece) => self.text.push_str(piece),
        }
    }
}

fn ask(session: &mut ChatSession<'_>, question: &str) -> (Generation, Seen) {
    let mut seen = Seen::default();
    let generation = session.ask(question, &GO_ON, |event| seen.event(event)).unwrap();
    (generation, seen)
}

#[test]
fn the_cache_changes_nothing() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 10).unwrap();
    ask(&mut session, "Hi");
    let before = session.turns().to_vec();
    let read_tokens = session.context.ids().len();
    let (cached, _) = ask(&mut session, "Why?");

    let mut fresh = ChatSession::new(&loaded, Sampling::greedy(), 10).unwrap();
    fresh.turns = before;
    let (computed, _) = ask(&mut fresh, "Why?");
    assert_eq!(cached.ids, computed.ids);
    assert_eq!(cached.prompt_ids, computed.prompt_ids);
    assert!(read_tokens > 27 && session.turns() == fresh.turns());
}

#[test]
fn what_is_streamed_is_what_is_kept() {
    let loaded = letters_model();
    for seed in 0..20 {
        let mut session = ChatSession::new(&loaded, Sampling::unfiltered(seed), 12).unwrap();
        let (answer, seen) = ask(&mut session, "Hi");
        assert_eq!(seen.text.trim_end(), answer.text);
        assert_eq!(session.turns(), [Message::user("Hi"), Message::assistant(&answer.text)]);
    }
}

#[test]
fn the_oldest_turns_are_forgotten_visibly() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 10).unwrap();
    session.set_system(Some("Be brief".to_owned()));
    let mut forgotten = Vec::new();
    for _ in 0..4 {
        let (answer, seen) = ask(&mut session, "And then?");
        assert!(answer.prompt_ids.len() + 10 <= 128);
        let prompt = loaded.tokenizer.decode(&answer.prompt_ids).unwrap();
        assert!(prompt.starts_with("Be brief\n### Human: And then?"), "{prompt}");
        forgotten.extend(seen.forgotten);
    }
    assert!(!forgotten.is_empty() && forgotten.iter().all(|count| *count == 2), "{forgotten:?}");
    assert_eq!(session.turns()[0].role, Role::User);
}

#[test]
fn a_question_that_cannot_fit_leaves_the_conversation_alone() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 10).unwrap();
    ask(&mut session, "Hi");
    let before = session.turns().to_vec();
    let mut seen = Seen::default();
    let question = "long ".repeat(40);
    let error = session.ask(&question, &GO_ON, |event| seen.event(event)).unwrap_err();
    assert!(error.to_string().contains("context of 128"), "{error}");
    assert_eq!((session.turns(), seen.forgotten.len()), (&before[..], 0));
    assert_eq!(ask(&mut session, "Bye").0.finish_reason, FinishReason::Length);
}

#[test]
fn a_cancelled_answer_stays_in_the_conversation() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::unfiltered(1), 50).unwrap();
    let cancel = AtomicBool::new(false);
    let mut letters = 0;
    let answer = session.ask("Hi", &cancel, |_| {
        letters += 1;
        cancel.store(letters == 4, std::sync::atomic::Ordering::Relaxed);
    });
    let answer = answer.unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Cancelled);
    assert_eq!(session.turns()[1], Message::assistant(answer.text));
}

#[test]
fn clearing_forgets_the_turns() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    let (first, _) = ask(&mut session, "Hi");
    session.clear();
    assert_eq!(session.context_tokens().0, 0);
    assert_eq!(ask(&mut session, "Hi").0.ids, first.ids);
    assert_eq!(session.turns().len(), 2);
}
