//! A conversation that stays in the KV cache.

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;

use tinyllama_model::{ChatTemplate, Message, Role};

use crate::context::Context;
use crate::error::InferError;
use crate::generate::{Generation, Request, generate_text};
use crate::loaded::LoadedModel;
use crate::sampling::{Sampler, Sampling};
use crate::stop::StopRules;

/// What a caller sees while an answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatEvent<'a> {
    /// The conversation no longer fits: this many of its oldest messages were forgotten.
    Forgot {
        /// Questions and answers.
        messages: usize,
    },
    /// A piece of the answer.
    Text(&'a str),
}

/// A conversation with one model.
///
/// Each question is asked with the whole conversation, rendered by the chat template. The tokens it
/// has in common with what the model has read already are not computed again.
#[derive(Debug)]
pub struct ChatSession<'a> {
    loaded: &'a LoadedModel,
    template: ChatTemplate,
    context: Context<'a>,
    stop: StopRules,
    sampler: Sampler,
    max_new_tokens: usize,
    system: Option<String>,
    /// Questions and answers in turn.
    turns: Vec<Message>,
}

impl<'a> ChatSession<'a> {
    /// An empty conversation by the model's own template, or else by guanaco's, which this project's
    /// fine-tuning uses.
    ///
    /// # Errors
    /// A sampling setting is outside of its range, or `max_new_tokens` is 0.
    pub fn new(
        loaded: &'a LoadedModel,
        sampling: Sampling,
        max_new_tokens: usize,
    ) -> Result<Self, InferError> {
        let template = loaded.chat_template.clone().unwrap_or_else(ChatTemplate::guanaco);
        let mut token_ids = loaded.stop_token_ids.clone();
        token_ids.extend(template.stop_token_ids(&loaded.tokenizer));
        let strings = template.stop_strings().into_iter().map(str::to_owned).collect();
        let mut session = Self {
            loaded,
            template,
            context: loaded.context(),
            stop: StopRules { token_ids, strings },
            sampler: Sampler::new(sampling)?,
            max_new_tokens: 1,
            system: None,
            turns: Vec::new(),
        };
        session.set_max_new_tokens(max_new_tokens)?;
        Ok(session)
    }

    /// Asks `question` and returns the answer, which becomes part of the conversation even if it was
    /// cancelled. Its text has no white space around it.
    ///
    /// Where the conversation leaves too little room for an answer, the oldest turns are forgotten.
    ///
    /// # Errors
    /// The question alone does not fit, or the template refuses it; the conversation stays as it was.
    pub fn ask(
        &mut self,
        question: &str,
        cancel: &AtomicBool,
        on_event: impl FnMut(ChatEvent<'_>),
    ) -> Result<Generation, InferError> {
        let mut turns = self.turns.clone();
        turns.push(Message::user(question));
        self.answer(turns, cancel, on_event)
    }

    /// Asks the last question again; the new answer takes the place of the old one. The random
    /// numbers go on, so that another answer is drawn unless the sampling is greedy. `None` where
    /// nothing was asked yet.
    ///
    /// # Errors
    /// As [`ChatSession::ask`]; the conversation stays as it was, with the old answer.
    pub fn regenerate(
        &mut self,
        cancel: &AtomicBool,
        on_event: impl FnMut(ChatEvent<'_>),
    ) -> Result<Option<Generation>, InferError> {
        let Some(question) = self.last_question() else { return Ok(None) };
        self.answer(self.turns[..=question].to_vec(), cancel, on_event).map(Some)
    }

    /// Forgets the last question and its answer; gives the question, if there was one.
    pub fn undo(&mut self) -> Option<Message> {
        let question = self.last_question()?;
        self.turns.drain(question..).next()
    }

    /// Replaces the conversation. What the model has read of it already is not read again.
    ///
    /// # Errors
    /// The turns are not questions and answers in turn with an answer at the end; nothing changes.
    pub fn restore(
        &mut self,
        system: Option<String>,
        turns: Vec<Message>,
    ) -> Result<(), InferError> {
        for (index, turn) in turns.iter().enumerate() {
            let (expected, requirement) = match index % 2 {
                0 => (Role::User, "user: questions and answers take turns"),
                _ => (Role::Assistant, "assistant: questions and answers take turns"),
            };
            if turn.role != expected {
                let value = format!("{} in messages[{index}]", turn.role.as_str());
                return Err(InferError::Setting { name: "role", value, requirement });
            }
        }
        if turns.len() % 2 == 1 {
            let value = format!("user in messages[{}], the last", turns.len() - 1);
            let requirement = "assistant there: a conversation ends with an answer";
            return Err(InferError::Setting { name: "role", value, requirement });
        }
        (self.system, self.turns) = (system, turns);
        Ok(())
    }

    /// Sets the instructions in front of the conversation, or removes them.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Changes the sampling; its random numbers start anew.
    ///
    /// # Errors
    /// A setting is outside of its range.
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<(), InferError> {
        self.sampler = Sampler::new(sampling)?;
        Ok(())
    }

    /// Changes how long an answer may be.
    ///
    /// # Errors
    /// The length is 0.
    pub fn set_max_new_tokens(&mut self, max_new_tokens: usize) -> Result<(), InferError> {
        if max_new_tokens == 0 {
            return Err(InferError::Setting {
                name: "max_new_tokens",
                value: "0".to_owned(),
                requirement: "at least 1",
            });
        }
        self.max_new_tokens = max_new_tokens;
        Ok(())
    }

    /// Adds texts that end an answer.
    pub fn add_stop_strings(&mut self, strings: impl IntoIterator<Item = String>) {
        self.stop.strings.extend(strings);
    }

    /// Forgets all questions and answers; the system's instructions stay.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.context = self.loaded.context();
    }

    /// Texts that end an answer, the template's own among them.
    pub fn stop_strings(&self) -> &[String] {
        &self.stop.strings
    }

    /// The instructions in front of the conversation.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Questions and answers in turn.
    pub fn turns(&self) -> &[Message] {
        &self.turns
    }

    /// The sampling settings.
    pub fn sampling(&self) -> &Sampling {
        self.sampler.sampling()
    }

    /// How long an answer may be, in tokens.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens
    }

    /// Tokens in the cache, and how many the model can see at once.
    pub fn context_tokens(&self) -> (usize, usize) {
        (self.context.ids().len(), self.context.limit_tokens())
    }

    /// Bytes allocated for keys and values.
    pub fn cache_bytes(&self) -> usize {
        self.context.cache_bytes()
    }

    /// Where the last question stands in the turns.
    fn last_question(&self) -> Option<usize> {
        self.turns.iter().rposition(|turn| turn.role == Role::User)
    }

    /// Answers the question that ends `turns`, and makes both the conversation.
    fn answer(
        &mut self,
        mut turns: Vec<Message>,
        cancel: &AtomicBool,
        mut on_event: impl FnMut(ChatEvent<'_>),
    ) -> Result<Generation, InferError> {
        let (prompt_ids, forgotten) = self.fit(&mut turns)?;
        if forgotten > 0 {
            on_event(ChatEvent::Forgot { messages: forgotten });
        }
        let request = Request {
            prompt_ids: &prompt_ids,
            max_new_tokens: self.max_new_tokens,
            stop: &self.stop,
            cancel,
        };
        let tokenizer = &self.loaded.tokenizer;
        let mut begun = false;
        // Templates end with `Assistant:` or a newline, and models begin with the space after it.
        let on_text = |piece: &str| {
            let piece = if begun { piece } else { piece.trim_start() };
            begun |= !piece.is_empty();
            if begun {
                on_event(ChatEvent::Text(piece));
            }
        };
        let mut generation =
            generate_text(&mut self.context, tokenizer, &request, &mut self.sampler, on_text)?;
        generation.text = generation.text.trim().to_owned();
        turns.push(Message::assistant(&generation.text));
        self.turns = turns;
        Ok(generation)
    }

    /// Drops the oldest turns until the rest leaves room for an answer; gives the ids of the rest
    /// and the number of messages dropped.
    fn fit(&self, turns: &mut Vec<Message>) -> Result<(Vec<u32>, usize), InferError> {
        let limit = self.context.limit_tokens();
        // A short answer needs its own length; a long one may be cut, but not to nothing.
        let answer_tokens = self.max_new_tokens.min(limit / 4).max(1);
        let mut forgotten = 0;
        loop {
            let ids = self.encode(turns)?;
            if ids.len() + answer_tokens <= limit {
                return Ok((ids, forgotten));
            }
            // The next question begins the conversation then: templates want that.
            let next = turns.iter().skip(1).position(|turn| turn.role == Role::User);
            let Some(next) = next else {
                // The question alone is left, and for it any room has to do.
                return match ids.len() < limit {
                    true => Ok((ids, forgotten)),
                    false => Err(InferError::PromptTooLong {
                        prompt_tokens: ids.len(),
                        context_tokens: limit,
                    }),
                };
            };
            turns.drain(..=next);
            forgotten += next + 1;
        }
    }

    fn encode(&self, turns: &[Message]) -> Result<Vec<u32>, InferError> {
        let system = self.system.iter().map(Message::system);
        let messages: Vec<Message> = system.chain(turns.iter().cloned()).collect();
        Ok(self.template.encode(&self.loaded.tokenizer, &messages, true)?)
    }
}
