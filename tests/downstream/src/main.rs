//! What a project that depends on these crates does with them: a Burn module of its own on their
//! kernels, then a small model on its own text, trained, saved, opened again and asked.

mod feed_forward;
mod poem;

use anyhow::Result;

fn main() -> Result<()> {
    feed_forward::learns_a_function()?;
    poem::learns_a_text()
}
