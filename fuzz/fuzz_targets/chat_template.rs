//! A chat template in Jinja: compiling, rendering three conversations, and what of them is learned.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::TOKENIZER;
use tinyllama_model::{ChatTemplate, Message};

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::from_source(source) else { return };
    let question = Message::user("Who <s>wrote</s> it?\n");
    let conversations = [
        vec![question.clone()],
        vec![Message::system("Be brief."), question.clone(), Message::assistant("X.")],
        vec![question.clone(), question],
    ];
    for messages in conversations {
        let _ = template.render(&TOKENIZER, &messages, true);
        let _ = template.encode_with_mask(&TOKENIZER, &messages);
    }
    let _ = template.stop_token_ids(&TOKENIZER);
});
