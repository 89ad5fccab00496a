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

#[test]
fn undo_takes_back_the_last_question_and_its_answer() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    assert_eq!(session.undo(), None);
    ask(&mut session, "Hi");
    let before = session.turns().to_vec();
    let (first, _) = ask(&mut session, "Why?");
    assert_eq!(session.undo(), Some(Message::user("Why?")));
    assert_eq!(session.turns(), before);
    let (again, _) = ask(&mut session, "Why?");
    assert_eq!(again.ids, first.ids, "nothing is left of what was taken back");
    session.undo();
    assert_eq!(session.undo(), Some(Message::user("Hi")));
    assert!(session.turns().is_empty());
}

#[test]
fn regenerate_draws_another_answer_to_the_same_question() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::unfiltered(1), 20).unwrap();
    assert_eq!(session.regenerate(&GO_ON, |_| {}).unwrap(), None);
    ask(&mut session, "Hi");
    let before = session.turns().to_vec();
    let (first, _) = ask(&mut session, "Why?");
    let again = session.regenerate(&GO_ON, |_| {}).unwrap().unwrap();
    assert_eq!(again.prompt_ids, first.prompt_ids);
    assert_ne!(again.ids, first.ids, "20 letters of 96 are not drawn twice");
    let expected = [&before[..], &[Message::user("Why?"), Message::assistant(&again.text)]];
    assert_eq!(session.turns(), expected.concat());
}

#[test]
fn a_greedy_answer_is_the_same_again_from_one_token() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    let (first, _) = ask(&mut session, "Hi");
    let held = session.context.ids().len();
    let again = session.regenerate(&GO_ON, |_| {}).unwrap().unwrap();
    assert_eq!((again.ids, session.context.ids().len()), (first.ids, held));
}

#[test]
fn a_restored_conversation_goes_on_as_if_it_had_been_held_here() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    session.set_system(Some("Short".to_owned()));
    ask(&mut session, "Hi");
    let (system, turns) = (session.system().map(str::to_owned), session.turns().to_vec());
    let (expected, _) = ask(&mut session, "Why?");

    let mut other = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    ask(&mut other, "Something else");
    other.restore(system, turns).unwrap();
    let (found, _) = ask(&mut other, "Why?");
    assert_eq!((found.prompt_ids, found.ids), (expected.prompt_ids, expected.ids));
    assert_eq!(other.turns(), session.turns());
}

#[test]
fn only_questions_and_answers_in_turn_are_restored() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    ask(&mut session, "Hi");
    let before = session.turns().to_vec();
    let (q, a, s) = (Message::user("q"), Message::assistant("a"), Message::system("s"));
    let wrong = [
        (vec![a.clone()], "assistant in messages[0], but must be user"),
        (vec![q.clone(), q.clone()], "user in messages[1], but must be assistant"),
        (vec![q.clone(), a.clone(), s], "system in messages[2], but must be user"),
        (vec![q.clone(), a.clone(), q.clone()], "user in messages[2], the last"),
    ];
    for (turns, expected) in wrong {
        let error = session.restore(Some("new".to_owned()), turns).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!((session.turns(), session.system()), (&before[..], None));
    }
    session.restore(None, Vec::new()).unwrap();
    assert!(session.turns().is_empty());
}

#[test]
fn an_answer_cancelled_before_it_began_leaves_its_question() {
    let loaded = letters_model();
    let mut session = ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap();
    let answer = session.ask("Hi", &AtomicBool::new(true), |_| {}).unwrap();
    assert_eq!((answer.finish_reason, answer.ids.len()), (FinishReason::Cancelled, 0));
    assert_eq!(session.turns(), [Message::user("Hi"), Message::assistant("")]);
    let (expected, _) = ask(&mut ChatSession::new(&loaded, Sampling::greedy(), 5).unwrap(), "Hi");
    let again = session.regenerate(&GO_ON, |_| {}).unwrap().unwrap();
    assert_eq!(again.ids, expected.ids);
}
