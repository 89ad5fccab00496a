//! The integration tests: one binary, one module for each promise that spans crates.

mod chat_parts; // Inputs of several lines, saved conversations, memory: what chat does without a model.
mod command_line; // Files, JSON keys and error messages of the example programs.
mod damaged_weights; // Undefined weights are named, with their file; loading is counted.
mod device; // Operations, decoding and training on TINYLLAMA_TEST_DEVICE are those of the CPU.
mod examples; // Starts the example programs for the tests that need them.
mod formats; // One model as folder, GGUF, llama2.c and PyTorch file; what round trips keep.
mod kill_and_resume; // Killed or stopped, then resumed: the bytes of a run that never was.
mod markdown; // Markdown on a terminal, as it streams.
mod random_model; // A random model with a tokenizer, for the tests of files and programs.
mod reference_logits; // Our logits, loss, gradients, greedy ids and KV cache are Hugging Face's.
mod sft_answers; // Fine-tuning changes answers: a chat says what it was taught, and stops.
mod sft_formats; // Fine-tuning begins from GGUF, llama2.c and PyTorch files as from a folder.
mod sft_mask; // Fine-tuning learns answers and their stop tokens, nothing else.
mod smollm2; // A real chat model: logits, layers, answers and scores are transformers'.
#[cfg(target_os = "linux")]
mod terminal; // The chat on a pseudo-terminal: keys, signals, files, escape sequences.
mod tidy; // The tree itself: file sizes, leftovers, one-way dependencies, the two READMEs.
