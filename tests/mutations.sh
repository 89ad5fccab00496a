#!/usr/bin/env bash
# Mutation trials: does a test notice when the code is wrong?
#
#   tests/mutations.sh             every mutation, one after the other
#   tests/mutations.sh NAME...     only these
#   tests/mutations.sh --list      their names, with what is wrong in each
#
# Each mutation replaces one piece of text, which must occur exactly once, in a copy of the tree; then
# tests of the packages beside its name must fail, the nearest package first. The script fails when a
# mutation survives, does not compile, or no longer finds its text. It prints a table of the tests that
# caught each one. All of them take about 20 minutes on two cores. Needs python3 besides what the tests need.
#
# The copy has a target folder of its own, which starts from the dependencies that `cargo test --release`
# has compiled; Cargo takes equal paths in two checkouts for the same crate, so they cannot share one.
set -euo pipefail

names=() suites=() files=() olds=() news=() wrongs=()

# mutation NAME SUITES FILE WHAT_IS_WRONG OLD_TEXT NEW_TEXT
mutation() {
    names+=("$1") suites+=("$2") files+=("$3") wrongs+=("$4") olds+=("$5") news+=("$6")
}

mutation rope-sign "kernels" kernels-cubecl/src/rope/reference.rs \
    "the rotation turns the other way" \
    'if inverse { B::float_neg(sin) } else { sin }' \
    'if inverse { sin } else { B::float_neg(sin) }'
mutation rope-inverse-ignored "kernels" kernels-cubecl/src/rope/reference.rs \
    "the gradient is rotated forward again" \
    'let sin = if inverse { B::float_neg(sin) } else { sin };' \
    'let _ = inverse;'
mutation causal-off-by-one "kernels" kernels-cubecl/src/attention/reference.rs \
    "a query does not see its own key" \
    'B::int_greater(' \
    'B::int_greater_equal('
mutation causal-absent "kernels" kernels-cubecl/src/attention/reference.rs \
    "a query sees the future" \
    'if !options.causal || self.length == 1 {' \
    'if !options.causal || self.length > 0 {'
mutation attention-unscaled "kernels" kernels-cubecl/src/attention/reference.rs \
    "the scores are not scaled" \
    'let q = B::float_mul_scalar(self.stack::<B>(to_f32::<B>(q)), options.scale.into());' \
    'let q = self.stack::<B>(to_f32::<B>(q));'
mutation attention-scale-without-root "kernels" kernels-cubecl/src/attention/mod.rs \
    "the scale is 1/H" \
    'scale: 1.0 / (head_dim as f64).sqrt()' \
    'scale: 1.0 / head_dim as f64'
mutation attention-gradient-unscaled "kernels" kernels-cubecl/src/attention/reference.rs \
    "the gradient of the scores is not scaled" \
    'let ds = B::float_mul_scalar(ds, options.scale.into());' \
    ''
mutation kv-head-grouping "kernels" kernels-cubecl/src/attention/reference.rs \
    "query head n reads key-value head n mod K" \
    'let q = B::float_permute(q, &[0, 2, 1, 3]); // [B, N, T, H]' \
    'let by_group = Shape::new([self.batch, self.length, self.groups(), self.kv, self.head_dim]);
        let q = B::float_permute(B::float_reshape(q, by_group), &[0, 3, 2, 1, 4]);'
mutation rms-norm-eps-dropped "kernels" kernels-cubecl/src/rms_norm/reference.rs \
    "nothing is added to the mean square" \
    'B::float_add_scalar(mean_square, eps.into())' \
    'mean_square'
mutation rms-norm-eps-doubled "kernels" kernels-cubecl/src/rms_norm/reference.rs \
    "twice eps is added to the mean square" \
    'B::float_add_scalar(mean_square, eps.into())' \
    'B::float_add_scalar(mean_square, (2.0 * eps).into())'
mutation swiglu-swapped "kernels" kernels-cubecl/src/swiglu/reference.rs \
    "gate and up change places" \
    '(B::float_slice(gate_up.clone(), &half(0)), B::float_slice(gate_up, &half(width / 2)))' \
    '(B::float_slice(gate_up.clone(), &half(width / 2)), B::float_slice(gate_up, &half(0)))'
mutation ignore-index-has-loss "kernels" kernels-cubecl/src/cross_entropy/host.rs \
    "an ignored target has a loss" \
    'IGNORE_INDEX => 0.0,' \
    'IGNORE_INDEX => loss_of(logits, 0, of_row, options),'
mutation ignore-index-has-gradient "kernels" kernels-cubecl/src/cross_entropy/host.rs \
    "an ignored target has a gradient" \
    'IGNORE_INDEX => row.fill(E::ZERO),' \
    'IGNORE_INDEX => row.fill(E::narrow(0.25)),'
mutation smoothing-dropped "kernels" kernels-cubecl/src/cross_entropy/reference.rs \
    "the target of the loss is not smoothed" \
    'if label_smoothing != 0.0 {
        of_target' \
    'if label_smoothing > 2.0 {
        of_target'
mutation chunk-of-targets "kernels" kernels-cubecl/src/linear_cross_entropy/chunks.rs \
    "every chunk has the targets of the first" \
    'B::int_slice(targets.clone(), &some)' \
    'B::int_slice(targets.clone(), &[Slice::from(0..end - start)])'
mutation top-p-excludes "kernels" kernels-cubecl/src/sampling/host.rs \
    "the token that reaches p is left out of its share" \
    'sum >= top_p * total' \
    'sum > 1.001 * top_p * total'
mutation rope-offset-ignored "kernels" kernels-cubecl/src/rope/reference.rs \
    "all sequences start at position 0" \
    'B::int_reshape(offsets, Shape::new([sequences, 1])),' \
    'B::int_mul_scalar(B::int_reshape(offsets, Shape::new([sequences, 1])), 0i64.into()),'
mutation sum-without-gradient "kernels" kernels-cubecl/src/rms_norm/autodiff.rs \
    "the residual gets no gradient from the sum" \
    '|dsum| dsum, |dsum| dsum)' \
    '|dsum| dsum, |dsum| B::float_mul_scalar(dsum, 0f32.into()))'

mutation rope-table-sign "model integration" tinyllama-model/src/rope.rs \
    "the table of sines is negated" \
    'sin: table(f64::sin)' \
    'sin: table(|angle| -angle.sin())'
mutation rope-scaling-ignored "model integration" tinyllama-model/src/rope/frequencies.rs \
    "angles are not divided by the factor of linear scaling" \
    'unscaled(theta).map(|w| w / factor).collect()' \
    'unscaled(theta).map(|w| w / factor * factor).collect()'
mutation dynamic-length-of-the-pass "model integration" tinyllama-model/src/rope.rs \
    "dynamic scaling looks at the tokens of a pass, not of the text" \
    'frequencies(config, positions.end)' \
    'frequencies(config, positions.len())'
mutation dynamic-exponent "model integration" tinyllama-model/src/rope/frequencies.rs \
    "the base of dynamic scaling grows by the factor without its exponent" \
    '.powf(head_dim / (head_dim - 2.0))' \
    ''
mutation yarn-ramp-reversed "model integration" tinyllama-model/src/rope/frequencies.rs \
    "YaRN stretches short wavelengths and keeps long ones" \
    'blend(w, w / factor, stretched(pair))' \
    'blend(w / factor, w, stretched(pair))'
mutation yarn-never-truncates "model" tinyllama-model/src/rope/frequencies.rs \
    "the ramp of YaRN begins and ends between pairs" \
    'if truncate { (low.floor()' \
    'if truncate && false { (low.floor()'
mutation attention-factor-on-sines-only "model integration" tinyllama-model/src/rope.rs \
    "the attention factor of YaRN is left out of the cosines" \
    'cos: table(f64::cos)' \
    'cos: table(f64::cos) / attention_factor'
mutation mscale-ignored "model" tinyllama-model/src/rope/frequencies.rs \
    "the attention factor of YaRN follows from its factor alone" \
    'of(mscale) / of(all_dim)' \
    'of(mscale / mscale) + 0.0 * all_dim'
mutation llama3-hard-threshold "model integration" tinyllama-model/src/rope/frequencies.rs \
    "wavelengths between those that stay and those that are stretched stay" \
    '1.0 - (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)' \
    'f64::from(turns < low_freq_factor) + 0.0 * high_freq_factor'
mutation dynamic-context-not-longer "model integration" tinyllama-model/src/config.rs \
    "dynamic scaling does not let a model see farther" \
    '(self.max_position_embeddings as f64 * factor) as usize' \
    '(self.max_position_embeddings as f64 * factor.min(1.0)) as usize'
mutation yarn-written-as-linear-was "model" tinyllama-model/src/config/json.rs \
    "config.json lacks the key by which transformers knows YaRN today" \
    'rope_type: kind("yarn"),' \
    'rope_type: None,'
mutation rope-parameters-first "model" tinyllama-model/src/config/json.rs \
    "of a file with both keys the one is read that transformers does not" \
    'json.rope_scaling.as_ref().or(json.rope_parameters.as_ref())' \
    'json.rope_parameters.as_ref().or(json.rope_scaling.as_ref())'
mutation norm-eps-fixed "model integration" tinyllama-model/src/norm.rs \
    "eps is not that of config.json" \
    'rms_norm(x, self.weight.val(), self.eps)' \
    'rms_norm(x, self.weight.val(), 1e-5)'
mutation gate-up-stored-swapped "integration" tinyllama-model/src/weights/layout.rs \
    "Hugging Face's gate is loaded as up" \
    '("mlp.gate_proj", f), ("mlp.up_proj", f)' \
    '("mlp.up_proj", f), ("mlp.gate_proj", f)'
mutation bf16-read-as-f16 "kernels model" kernels-cubecl/src/packed_linear/format/dequantize.rs \
    "weights stored in bfloat16 are read as IEEE halves" \
    'out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);' \
    'out[0] = from_f16(bytes);'
mutation residual-init "model" tinyllama-model/src/model.rs \
    "projections into the residual stream start like all others" \
    'let residual_std = 1.0 / (d as f64).sqrt() / config.num_hidden_layers as f64;' \
    'let residual_std = std;'
mutation kv-position-off-by-one "model infer integration" tinyllama-model/src/model.rs \
    "a continued sequence starts one position too early" \
    'map_or(0, |cache| cache.len())' \
    'map_or(0, |cache| cache.len().saturating_sub(1))'
mutation kv-cache-grows-empty "model infer" tinyllama-model/src/kv_cache.rs \
    "growing forgets the keys and values held" \
    'tensor.inplace(|held| match len {' \
    'tensor.inplace(|held| match 0 * len {'
mutation kv-truncate-ignored "model infer" tinyllama-model/src/kv_cache.rs \
    "the cache keeps what was to be forgotten" \
    'layer.len = layer.len.min(len);' \
    'let _ = (&layer, len);'
mutation mask-includes-user "model integration" tinyllama-model/src/chat.rs \
    "fine-tuning learns the questions too" \
    'answer.start <= range.start && range.end <= answer.end' \
    'range.end <= answer.end'
mutation mask-without-stop "model integration" tinyllama-model/src/chat.rs \
    "fine-tuning does not learn to stop" \
    'zip(&tokens[..=stop])' \
    'zip(&tokens[..stop])'
mutation bos-twice "model" tinyllama-model/src/chat.rs \
    "a template that writes BOS gets a second one" \
    '&& tokens.first().is_none_or(|token| token.0 != bos)' \
    ''
mutation special-tokens-injected "model" tinyllama-model/src/tokenizer/marked.rs \
    "a special token in a message counts as one" \
    'if !found.iter().any(is_literal) {' \
    'if !found.iter().any(is_literal) || found.len() < usize::MAX {'
mutation huge-token-id "model" tinyllama-model/src/tokenizer.rs \
    "tokenizer.json decides how large tables are" \
    'if tokenizer.vocab_size > MAX_SIZE {' \
    'if tokenizer.vocab_size == 0 {'
mutation merges-by-id "model" tinyllama-model/src/tokenizer/merges.rs \
    "pieces are joined in the order of their ids" \
    'cuts.sort_by(|a, b| score(b).partial_cmp(&score(a)).expect("no score is NaN"));' \
    'let _ = score;'
mutation special-pieces-joined "model" tinyllama-model/src/tokenizer/merges.rs \
    "text becomes a special token by merges" \
    'piece.kind == PieceKind::Normal && !piece.text.is_empty();' \
    '!piece.text.is_empty();'
mutation special-words "model" tinyllama-model/src/tokenizer/build.rs \
    "a word that is a special token becomes one" \
    'taken |= tokenizer.encode(text, false)?.contains(&id);' \
    ''
mutation ignore-merges-lost "model" tinyllama-model/src/tokenizer/build.rs \
    "Llama 3's whole words are cut" \
    '.ignore_merges(pre_tokenizer.ignore_merges)' \
    ''
mutation vocabulary-without-bos "model" tinyllama-model/src/tokenizer/build.rs \
    "no text begins with BOS" \
    '(true, Some(id)) = (vocabulary.add_bos, vocabulary.bos_id)' \
    '(true, Some(id)) = (false, vocabulary.bos_id)'
mutation digits-together "model" tinyllama-model/src/tokenizer/pre_tokenizers.rs \
    "SmolLM's digits stay together" \
    '"individual_digits": true}),' \
    '"individual_digits": false}),'
mutation llama2c-space "model" tinyllama-model/src/tokenizer/llama2c.rs \
    "a space is not SentencePiece's" \
    "text.replace(' ', SPACE)" \
    'text.to_owned()'
mutation regex-panic "model" tinyllama-model/src/tokenizer/guard.rs \
    "a pattern that explodes ends the program" \
    'catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic).into()))' \
    'Ok::<_, Box<dyn Any + Send>>(work()).unwrap_or_else(|panic| Err(message(&*panic).into()))'
mutation utf8-split "model" tinyllama-model/src/tokenizer/stream.rs \
    "half a character is handed out" \
    'if piece.is_empty() || piece.ends_with(REPLACEMENT) {' \
    'if piece.is_empty() {'

mutation target-not-shifted "train" tinyllama-train/src/batch.rs \
    "a token is its own target" \
    'targets.extend(tokens[1..].iter()' \
    'targets.extend(tokens[..tokens.len() - 1].iter()'
mutation mask-not-shifted "train integration" tinyllama-train/src/batch.rs \
    "the loss mask belongs to the token before" \
    '.zip(&loss_mask[1..])' \
    '.zip(&loss_mask[..])'
mutation padding-has-loss "train" tinyllama-train/src/batch.rs \
    "padding is a target" \
    'targets.extend(std::iter::repeat_n(IGNORE_INDEX as i32, padding));' \
    'targets.extend(std::iter::repeat_n(id(pad_id), padding));'
mutation adamw-first-bias "kernels train" kernels-cubecl/src/adamw/mod.rs \
    "the mean of the gradients keeps its bias towards zero" \
    '(correction(self.beta1), correction(self.beta2))' \
    '(1.0, correction(self.beta2))'
mutation adamw-second-bias "kernels train" kernels-cubecl/src/adamw/mod.rs \
    "the mean of the squares keeps its bias towards zero" \
    '(correction(self.beta1), correction(self.beta2))' \
    '(correction(self.beta1), 1.0)'
mutation adamw-eps-in-root "kernels train" kernels-cubecl/src/adamw/host.rs \
    "eps is added inside of the root" \
    '(*v * by.inverse_bias2).root() + by.eps' \
    '(*v * by.inverse_bias2 + by.eps).root()'
mutation decay-dropped "kernels train" kernels-cubecl/src/adamw/host.rs \
    "weights do not decay" \
    '*p * by.decay' \
    '*p'
mutation decay-not-on-norms "train" tinyllama-train/src/optimizer.rs \
    "small groups such as the last norm do not decay, unlike the original's" \
    'let (p, [exp_avg, exp_avg_sq]) =' \
    'let weight_decay = if p.dims()[0] < 64 { 0.0 } else { weight_decay };
                let step = AdamWStep { weight_decay, ..step };
                let (p, [exp_avg, exp_avg_sq]) ='
mutation clip-dropped "train" tinyllama-train/src/optimizer.rs \
    "large gradients are not scaled down" \
    'mul_scalar(max_grad_norm).clamp_max(1.0)' \
    'mul_scalar(max_grad_norm).clamp_min(1.0).clamp_max(1.0)'
mutation clip-scales-up "train" tinyllama-train/src/optimizer.rs \
    "small gradients are scaled up" \
    'mul_scalar(max_grad_norm).clamp_max(1.0)' \
    'mul_scalar(max_grad_norm)'
mutation lr-of-next-step "train" tinyllama-train/src/trainer.rs \
    "the schedule is read one step ahead" \
    'self.config.schedule().lr(self.step)' \
    'self.config.schedule().lr(step)'
mutation warmup-from-zero "train" tinyllama-train/src/schedule.rs \
    "the first step has no learning rate" \
    'self.peak_lr * (step + 1) as f64' \
    'self.peak_lr * step as f64'
mutation mean-of-means "train" tinyllama-train/src/trainer.rs \
    "micro-batches weigh alike however many targets they have" \
    '.div_scalar(num_targets as f64)' \
    '.div_scalar((batch.num_targets() * batches.len()) as f64)'
mutation accumulation-keeps-last "train" tinyllama-train/src/trainer.rs \
    "only the last micro-batch has a gradient" \
    'map(|(sum, g)| sum + g)' \
    'map(|(_, g)| g)'
mutation non-finite-step "train" tinyllama-train/src/trainer.rs \
    "a step whose loss is not finite updates the model" \
    'if !value.is_finite() {' \
    'if value == -1.0 {'
mutation checkpoint-source-lost "train" tinyllama-train/src/checkpoint.rs \
    "a resumed run reads its data from the beginning" \
    'let state = TrainerState { step, tokens, wall_s, source, config };' \
    'drop(source);
    let state = TrainerState { step, tokens, wall_s, source: Value::from(0), config };'
mutation shard-source-restarts "train" tinyllama-train/src/source.rs \
    "resumed token files start at their first window" \
    'self.sequence_tokens, saved.loader)?;' \
    'self.sequence_tokens, LoaderState { position: 0, ..saved.loader })?;'
mutation checkpoint-moment-twice "train" tinyllama-train/src/checkpoint.rs \
    "the second moment is loaded from the first" \
    'exp_avg_sq: read(EXP_AVG_SQ, group)?' \
    'exp_avg_sq: read(EXP_AVG, group)?'
mutation resumed-bias "train" tinyllama-train/src/trainer.rs \
    "a resumed optimizer counts its updates from zero" \
    'moments, step)' \
    'moments, 0)'
mutation failed-step-eats-data "train" tinyllama-train/src/trainer.rs \
    "a step that fails leaves the data behind its batch" \
    'if outcome.is_err() {' \
    'if false {'
mutation foreign-model "train" tinyllama-train/src/trainer.rs \
    "settings of another model than the weights are accepted" \
    'config.model_difference(model.config())' \
    'config.model_difference(&config.model)'
mutation failed-run-unsaved "train" tinyllama-train/src/run.rs \
    "a run that fails loses its steps since the last checkpoint" \
    'Err(TrainError::NotFinite { .. }) => Ok(()),' \
    'Err(_) => Ok(()),'
mutation broken-run-saved "train" tinyllama-train/src/run.rs \
    "a run whose loss breaks down can only go on from the step before" \
    'Err(TrainError::NotFinite { .. }) => Ok(()),' \
    ''
mutation stop-saves-again "train" tinyllama-train/src/run.rs \
    "a stop before the first step writes the checkpoint it began with again" \
    'if step > self.saved_step {' \
    'if step > 0 {'
mutation damage-keeps-its-name "train" tinyllama-train/src/run_folder.rs \
    "a damaged checkpoint counts among those to keep" \
    'fs::rename(&folder, &aside)' \
    'fs::create_dir(&aside)'
mutation later-checkpoints-pruned "train" tinyllama-train/src/run_folder.rs \
    "a save deletes itself where later steps are on disk" \
    'filter(|(found, _)| *found <= step)' \
    'filter(|(found, _)| *found <= u64::MAX)'
mutation foreign-log-cut "train" tinyllama-train/src/metrics.rs \
    "a file of something else is emptied as the log of a run" \
    'if !is_cut_off(line) {' \
    'if false {'
mutation old-data-set-first "train" tinyllama-train/src/staged_folder.rs \
    "the old data set goes before the new one is made" \
    'fs::create_dir_all(&staging).map_err(DataError::write(&staging))?;' \
    'for old in sorted_entries(&target).unwrap_or_default().iter().filter(|path| path.is_file()) {
            fs::remove_file(old).map_err(DataError::write(old))?;
        }
        fs::create_dir_all(&staging).map_err(DataError::write(&staging))?;'
mutation half-a-data-set "train" tinyllama-train/src/training_data.rs \
    "a data set is read without the files that are missing" \
    'match found == expected {' \
    'match found.num_tokens > 0 {'
mutation header-vocabulary-trusted "train" tinyllama-train/src/training_data.rs \
    "the header of a token file names any vocabulary" \
    ' || format.vocab_size as usize != vocab_size' \
    ''
mutation lines-without-end "train" tinyllama-train/src/documents.rs \
    "a line is read whole however long it is" \
    'len if len > max_bytes =>' \
    'len if len > usize::MAX - 1 =>'
mutation checkpoint-unverified "train" tinyllama-train/src/checkpoint.rs \
    "a damaged checkpoint is loaded" \
    'verify(folder, &["config.json", "model.safetensors", MOMENTS_FILE, STATE_FILE])?;' \
    'let _ = verify;'
mutation documents-run-together "train" tinyllama-train/src/packer.rs \
    "no token ends a document" \
    'tokens.extend(self.appended_id);' \
    ''
mutation windows-skip-a-token "train" tinyllama-train/src/loader.rs \
    "a window does not start with the last token of the one before" \
    'self.next_window() * self.sequence_tokens as u64' \
    'self.next_window() * (self.sequence_tokens as u64 + 1)'

mutation sft-order-restarts "sft" tinyllama-sft/src/source.rs \
    "a resumed fine-tuning starts its pass again" \
    '(self.seed, self.position) = (saved.seed, saved.position);' \
    'self.seed = saved.seed;'

mutation trimmed-offsets "model" tinyllama-model/src/tokenizer/marked.rs \
    "tokens of spaces stand for no text" \
    'pieces.into_encoding(None, 0, OffsetType::Byte)' \
    'self.inner.post_process(pieces.into_encoding(None, 0, OffsetType::Byte)?, None, false)'

mutation top-p-off "infer" tinyllama-infer/src/sampling.rs \
    "top_p keeps every token" \
    'if top_p < 1.0 {' \
    'if top_p < 0.0 {'
mutation top-p-short "infer" tinyllama-infer/src/sampling.rs \
    "top_p leaves out the token that reaches p" \
    '|last| last + 1)' \
    '|last| last.max(1))'
mutation repetition-penalty-sign "infer" tinyllama-infer/src/sampling.rs \
    "the penalty raises negative logits" \
    'if *score > 0.0 { repetition_penalty.recip() } else { repetition_penalty };' \
    'repetition_penalty.recip();'
mutation extreme-penalty "infer" tinyllama-infer/src/sampling.rs \
    "a penalty that leaves the range of f64 gives no probabilities" \
    '*score = score.clamp(f64::MIN, f64::MAX);' \
    ''
mutation stop-token-ignored "infer" tinyllama-infer/src/generate.rs \
    "a stop token does not stop" \
    'if stop.token_ids.contains(&id) {' \
    'if stop.token_ids.contains(&u32::MAX) {'
mutation foreign-prefix-kept "infer" tinyllama-infer/src/context.rs \
    "another prompt continues the cache of the one before" \
    'let kept = common.min(most);' \
    'let kept = self.ids.len().max(common).min(most);'
mutation prefill-uncancelled "infer" tinyllama-infer/src/context.rs \
    "a long prompt is read to its end, whatever the cancel flag says" \
    'while goes_on(self.ids.len()) {' \
    'while goes_on(self.ids.len()) || !ids.is_empty() {'
mutation prefill-chunk-dropped "infer" tinyllama-infer/src/context.rs \
    "a chunk of the prompt is in the ids but not in the cache" \
    'let hidden = self.model.hidden(ids, Some(&mut self.cache));' \
    'let mut cache = self.cache.clone();
        let hidden = self.model.hidden(ids, Some(&mut cache));
        if new.len() < PREFILL_CHUNK_TOKENS {
            self.cache = cache;
        }'
mutation undo-keeps-question "infer" tinyllama-infer/src/chat.rs \
    "undo forgets the answer alone" \
    'self.turns.drain(question..).next()' \
    'self.turns.drain(question + 1..).next()'
mutation restore-unchecked "infer" tinyllama-infer/src/chat.rs \
    "questions and answers of a restored conversation need not take turns" \
    'if turn.role != expected {' \
    'if turn.role != expected && turns.len() > 99 {'
mutation quotes-end-at-backslash "integration" examples/command_line/input.rs \
    "a backslash ends quoted text instead of the quotes" \
    'if begun.is_quoted { QUOTES } else { "\\" }' \
    'if begun.is_quoted && begun.text.is_empty() { QUOTES } else { "\\" }'
mutation markdown-in-code "integration" examples/command_line/markdown.rs \
    "marks of emphasis count within a code span" \
    "'*' | '_' | '\\\\' if self.code_span.is_none() =>" \
    "'*' | '_' | '\\\\' =>"
mutation markdown-endless "integration" examples/command_line/markdown.rs \
    "a mark without end styles the rest of the answer" \
    '(self.bold, self.italic, self.code_span) = (None, None, None);' \
    ''
mutation save-over-anything "integration" examples/command_line/saved_chat.rs \
    "/save replaces files that are no saved chats" \
    'match fs::symlink_metadata(&target) {' \
    'match fs::symlink_metadata("absent/absent") {'

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
scratch="$root/target/mutations"

fail() {
    printf 'mutations: error: %s\n' "$*" >&2
    exit 1
}

index_of() {
    local i
    for i in "${!names[@]}"; do
        [[ ${names[i]} == "$1" ]] && echo "$i" && return
    done
    fail "no mutation '$1'; --list names them"
}

selected=()
case "${1-}" in
"") selected=("${!names[@]}") ;;
--list)
    for i in "${!names[@]}"; do
        printf '%-30s %s\n' "${names[i]}" "${wrongs[i]}"
    done
    exit 0
    ;;
*)
    for name in "$@"; do
        selected+=("$(index_of "$name")")
    done
    ;;
esac

# Copies what Git knows or would add. A file that is the same already keeps its time, so that Cargo
# rebuilds what differs from the last trial and nothing else.
copy_tree() {
    local file
    mkdir -p "$scratch/tree"
    while IFS= read -r -d '' file; do
        [[ -f $root/$file ]] || continue
        cmp --quiet "$root/$file" "$scratch/tree/$file" && continue
        mkdir -p "$(dirname "$scratch/tree/$file")"
        cp "$root/$file" "$scratch/tree/$file"
    done < <(git -C "$root" ls-files -z --cached --others --exclude-standard)
    # What has gone from the tree goes from the copy.
    while IFS= read -r -d '' file; do
        [[ -f $root/$file ]] || rm "$scratch/tree/$file"
    done < <(find "$scratch/tree" -type f -printf '%P\0')
}

# The dependencies that are compiled already, without what is made of the tree itself.
seed_target() {
    local from="$root/target/release" to="$scratch/target/release"
    [[ -d $to || ! -d $from/deps ]] && return
    mkdir -p "$to"
    # A build that runs meanwhile may take a file away; Cargo makes anew what is missing.
    cp --archive --reflink=auto "$from/deps" "$from/build" "$from/.fingerprint" "$to" || true
    find "$to" -depth \( -name '*tinyllama*' -o -name '*kernels[_-]cubecl*' -o -name '*integration-*' \) \
        -exec rm -rf {} +
}

# The root package comes along so that dependencies keep the features they have in the whole workspace.
cargo_arguments() {
    case "$1" in
    kernels) echo "--package tinyllama-workspace --package kernels-cubecl --lib" ;;
    model | train | infer | sft) echo "--package tinyllama-workspace --package tinyllama-$1 --lib" ;;
    # The others are about the tree itself, or want the examples built.
    integration) echo "--test integration -- reference_logits sft_mask markdown:: chat_parts::" ;;
    *) fail "no suite '$1'" ;;
    esac
}

# Runs a suite in the copy: 0 where its tests pass, 1 where one fails, else no verdict.
run_suite() {
    local arguments log="$scratch/$1.log"
    read -ra arguments < <(cargo_arguments "$1")
    (cd "$scratch/tree" && cargo test --release --locked --no-run "${arguments[@]}") \
        >"$log" 2>&1 || return 2
    (cd "$scratch/tree" && timeout 600 cargo test --release --locked --no-fail-fast "${arguments[@]}") \
        >"$log" 2>&1 || return 1
}

# The first test that failed in a suite's last run, and how many others did.
caught_by() {
    local tests
    mapfile -t tests < <(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$scratch/$1.log" | sort)
    case ${#tests[@]} in
    0) echo "$1: the tests did not end by themselves" ;;
    1) echo "$1: ${tests[0]}" ;;
    *) echo "$1: ${tests[0]} and $((${#tests[@]} - 1)) more" ;;
    esac
}

# Replaces OLD by NEW in FILE of the copy, which keeps what it was.
replace() {
    cp "$scratch/tree/$1" "$scratch/original"
    python3 - "$scratch/tree/$1" "$2" "$3" <<'PYTHON'
import pathlib, sys

path, old, new = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = path.read_text()
if text.count(old) != 1:
    sys.exit(f"{path.name} has {text.count(old)} places that read: {old}")
path.write_text(text.replace(old, new))
PYTHON
}

copy_tree
seed_target
export CARGO_TARGET_DIR="$scratch/target" CARGO_TERM_COLOR=never
# The copy has no assets beside it.
export TINYLLAMA_ASSETS="${TINYLLAMA_ASSETS:-$root/../shared/assets}"

# A test that fails anyway would catch everything.
mapfile -t used < <(for i in "${selected[@]}"; do tr ' ' '\n' <<<"${suites[i]}"; done | sort -u)
for suite in "${used[@]}"; do
    run_suite "$suite" || fail "the tests of '$suite' do not pass as they are, see $scratch/$suite.log"
done

problems=()
for i in "${selected[@]}"; do
    start_s=$SECONDS
    verdict="SURVIVED: ${wrongs[i]}, and no test of ${suites[i]} noticed"
    if replace "${files[i]}" "${olds[i]}" "${news[i]}"; then
        for suite in ${suites[i]}; do
            status=0
            run_suite "$suite" || status=$?
            case $status in
            0) continue ;;
            1) verdict="$(caught_by "$suite")" ;;
            *) verdict="DOES NOT COMPILE: see $scratch/$suite.log" ;;
            esac
            break
        done
    else
        verdict="NOT APPLIED: ${files[i]} has changed; bring the mutation up to date"
    fi
    cp "$scratch/original" "$scratch/tree/${files[i]}"
    printf '%-30s %3d s  %s\n' "${names[i]}" $((SECONDS - start_s)) "$verdict"
    [[ $verdict != [A-Z][A-Z]* ]] || problems+=("${names[i]}")
    [[ $verdict != DOES* ]] || cp "$scratch/$suite.log" "$scratch/${names[i]}.log"
done

printf '%d mutations in %d min\n' "${#selected[@]}" $((SECONDS / 60))
((${#problems[@]} == 0)) || fail "not caught: ${problems[*]}"
