//! A decoder in double precision, written plainly after llama.cpp's graphs (`src/models/*.cpp`, autumn 2026, the
//! version that llama-cpp-python 0.3.36 carries): the whole sequence at once, no cache, every score computed.
//!
//! It shares the reading of headers and the decoding of blocks with the engine, nothing else. Set
//! `HWLEDGER_REFERENCE_DUMP` to a folder to compare it with llama.cpp itself (`tests/native/logits.rs`).

use std::cell::Cell;

use hwledger_core::ElementType;
use hwledger_formats::gguf::{Header, Value, read_header};
use hwledger_kernels::{bf16_from_f32, dequantise, f16_from_f32, f32_from_bf16, f32_from_f16};

/// Experts whose logits differ by less are nearly tied: inputs that are rounded to bytes move them as far.
const TIE: f64 = 0.004;

pub(crate) type Rows = Vec<Vec<f64>>;

/// A model as its bytes, and how it is run.
pub(crate) struct Reference<'a> {
    bytes: &'a [u8],
    pub(crate) header: Header,
    /// The longest sequence that the model is loaded for.
    context: usize,
    /// Whether keys and values are rounded to half precision, as the engine's cache holds them.
    pub(crate) rounds_cache: bool,
    rounding: Rounding,
    first_tie: Cell<usize>,
}

/// What is rounded before it is multiplied.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Rounding {
    /// Nothing.
    None,
    /// Inputs of products with 4-bit, 5-bit, 6-bit and 8-bit weights, to bytes in blocks of 32 with a common scale,
    /// of 256 where weights are K-quants or `IQ4_XS`.
    Bytes,
    /// Inputs and weights, to bfloat16, but for products with weights of single or half precision.
    Tiles,
}

/// Whether inputs are rounded to bytes to be multiplied with weights of this type.
pub(crate) const fn takes_bytes(element_type: ElementType) -> bool {
    use ElementType::{Iq4Nl, Iq4Xs, Mxfp4, Q3K, Q4_0, Q4K, Q5K, Q6K, Q8_0};
    matches!(element_type, Q4_0 | Q8_0 | Iq4Nl | Mxfp4 | Q3K | Q4K | Q5K | Q6K | Iq4Xs)
}

/// How the heads of a layer turn.
pub(crate) struct Rope {
    pairs_are_halves: bool,
    base: f64,
    scale: f64,
    is_yarn: bool,
    magnitude: f64,
    original: f64,
    factors: Option<Vec<f64>>,
}

pub(crate) fn sum_of_products(a: &[f64], b: &[f64]) -> f64 {
    // Plain counting: these loops are run without optimisation.
    let (mut sums, mut index, length) = ([0.0; 4], 0, a.len().min(b.len()));
    while index + 4 <= length {
        sums[0] += a[index] * b[index];
        sums[1] += a[index + 1] * b[index + 1];
        sums[2] += a[index + 2] * b[index + 2];
        sums[3] += a[index + 3] * b[index + 3];
        index += 4;
    }
    while index < length {
        sums[0] += a[index] * b[index];
        index += 1;
    }
    sums[0] + sums[1] + sums[2] + sums[3]
}

pub(crate) fn half(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounded to half precision anyway")]
    let value = value as f32;
    f64::from(f32_from_f16(f16_from_f32(value)))
}

fn bfloat16(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounded to fewer bits anyway")]
    let value = value as f32;
    f64::from(f32_from_bf16(bf16_from_f32(value)))
}

/// Rounds to 255 steps between the largest absolute value of each `size` values and its negative.
fn bytes_of(values: &[f64], size: usize) -> Vec<f64> {
    let block = |block: &[f64]| {
        let step = block.iter().fold(0.0_f64, |max, value| max.max(value.abs())) / 127.0;
        let round = move |value: &f64| if step > 0.0 { (value / step).round_ties_even() * step } else { 0.0 };
        block.iter().map(round).collect::<Vec<_>>()
    };
    values.chunks(size).flat_map(block).collect()
}

pub(crate) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
}

pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

pub(crate) fn add_scaled(target: &mut [f64], values: &[f64], factor: f64) {
    for (target, value) in target.iter_mut().zip(values) {
        *target += factor * value;
    }
}

/// The numbers of a matrix, and what is rounded before they are multiplied.
pub(crate) struct Weight {
    pub(crate) values: Vec<f64>,
    pub(crate) rounding: Rounding,
    /// Columns of an input that share a scale as bytes.
    pub(crate) block: usize,
}

impl Weight {
    /// An input as products with it take it.
    pub(crate) fn rounded(&self, input: &[f64]) -> Vec<f64> {
        match self.rounding {
            Rounding::None => input.to_vec(),
            Rounding::Bytes => bytes_of(input, self.block),
            Rounding::Tiles => input.iter().copied().map(bfloat16).collect(),
        }
    }

    /// The product of some rows with an input.
    pub(crate) fn times(&self, part: std::ops::Range<usize>, input: &[f64]) -> Vec<f64> {
        let input = self.rounded(input);
        self.values[part].chunks_exact(input.len()).map(|row| sum_of_products(row, &input)).collect()
    }
}

impl<'a> Reference<'a> {
    pub(crate) fn new(bytes: &'a [u8], context: usize) -> Self {
        let header = read_header(bytes, Some(bytes.len() as u64)).unwrap();
        Self { bytes, header, context, rounds_cache: true, rounding: Rounding::None, first_tie: Cell::new(usize::MAX) }
    }

    /// The same with operands of products rounded.
    pub(crate) fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// The same with keys and values as they are computed.
    pub(crate) fn with_exact_cache(mut self) -> Self {
        self.rounds_cache = false;
        self
    }

    /// The first position, of those whose logits were computed, at which two experts were so nearly tied that a
    /// rounding chooses the other one: from there on, nothing can be compared.
    pub(crate) const fn first_tie(&self) -> usize {
        self.first_tie.get()
    }

    fn architecture(&self) -> &str {
        self.header.architecture().unwrap()
    }

    pub(crate) fn is(&self, architectures: &[&str]) -> bool {
        architectures.contains(&self.architecture())
    }

    pub(crate) fn number(&self, suffix: &str) -> Option<f64> {
        match self.header.metadata.get(&format!("{}.{suffix}", self.architecture())) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Unsigned(value)) => Some(*value as f64),
            Some(Value::Bool(value)) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    pub(crate) fn count(&self, suffix: &str) -> Option<usize> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
        self.number(suffix).map(|number| number as usize)
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.header.tensor(name)?;
        let start = usize::try_from(self.header.data_offset + tensor.offset).unwrap();
        let bytes = &self.bytes[start..start + usize::try_from(tensor.bytes()).unwrap()];
        let mut values = vec![0.0; usize::try_from(tensor.elements()).unwrap()];
        dequantise(tensor.element_type, bytes, &mut values).unwrap();
        Some(values.into_iter().map(f64::from).collect())
    }

    /// A weight as products with it take it.
    pub(crate) fn weight(&self, name: &str) -> Option<Weight> {
        let element_type = self.header.tensor(name)?.element_type;
        let mut values = self.tensor(name)?;
        let is_whole = matches!(element_type, ElementType::F32 | ElementType::F16);
        let takes_bytes = takes_bytes(element_type);
        let rounding = match self.rounding {
            Rounding::Tiles if !is_whole => Rounding::Tiles,
            Rounding::Bytes if takes_bytes => Rounding::Bytes,
            _ => Rounding::None,
        };
        if rounding == Rounding::Tiles {
            for value in &mut values {
                *value = bfloat16(*value);
            }
        }
        if let Some(scales) = self.tensor(&name.replace(".weight", ".scale")) {
            let length = values.len() / scales.len();
            for (copy, scale) in values.chunks_exact_mut(length).zip(&scales) {
                for value in copy {
                    *value *= scale;
                }
            }
        }
        let has_super_blocks = takes_bytes && element_type.block().0 == 256;
        Some(Weight { values, rounding, block: if has_super_blocks { 256 } else { 32 } })
    }

    /// `W x + b` of every row; `name` without `.weight`.
    pub(crate) fn project(&self, name: &str, inputs: &Rows) -> Option<Rows> {
        let weight = self.weight(&format!("{name}.weight"))?;
        let bias = self.tensor(&format!("{name}.bias"));
        let product = |input: &Vec<f64>| {
            let mut out = weight.times(0..weight.values.len(), input);
            if let Some(bias) = &bias {
                add_scaled(&mut out, bias, 1.0);
            }
            out
        };
        Some(inputs.iter().map(product).collect())
    }

    /// RMS norms of stretches as long as the weight; unchanged where the tensor is missing.
    pub(crate) fn normalise(&self, name: &str, rows: &mut Rows) {
        let Some(weight) = self.tensor(&format!("{name}.weight")) else { return };
        let epsilon = self.number("attention.layer_norm_rms_epsilon").unwrap();
        for part in rows.iter_mut().flat_map(|row| row.chunks_exact_mut(weight.len())) {
            let mean = part.iter().map(|value| value * value).sum::<f64>() / part.len() as f64;
            for (value, weight) in part.iter_mut().zip(&weight) {
                *value = *value / (mean + epsilon).sqrt() * weight;
            }
        }
    }

    /// Logits after every token.
    pub(crate) fn logits(&self, tokens: &[u32]) -> Rows {
        let hidden = self.count("embedding_length").unwrap();
        let embedding = self.tensor("token_embd.weight").unwrap();
        let scale = match self.number("embedding_scale").filter(|&scale| scale != 0.0) {
            _ if self.is(&["gemma", "gemma2", "gemma3"]) => (hidden as f64).sqrt(),
            scale => scale.unwrap_or(1.0),
        };
        let row = |&token: &u32| embedding[token as usize * hidden..][..hidden].iter().map(|x| x * scale).collect();
        let mut stream: Rows = tokens.iter().map(row).collect();
        let residual = self.number("residual_scale").filter(|&scale| scale != 0.0).unwrap_or(1.0);
        for layer in 0..self.count("block_count").unwrap() {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let mut input = stream.clone();
            self.normalise(&name("attn_norm"), &mut input);
            let mut part = if self.number("attention.kv_lora_rank").is_some() {
                self.latent_attention(layer, &input)
            } else {
                self.attention(layer, &input)
            };
            if !self.is(&["gpt-oss"]) {
                self.normalise(&name("post_attention_norm"), &mut part);
            }
            for (row, part) in stream.iter_mut().zip(&part) {
                add_scaled(row, part, residual);
            }
            let mut input = stream.clone();
            // gpt-oss calls the norm before its feed-forward the one after attention.
            let norm = if self.is(&["gpt-oss"]) { "post_attention_norm" } else { "ffn_norm" };
            self.normalise(&name(norm), &mut input);
            let mut part = if self.tensor(&name("ffn_gate_inp.weight")).is_some() {
                self.experts(layer, &input)
            } else {
                self.dense(layer, "", &input)
            };
            self.normalise(&name("post_ffw_norm"), &mut part);
            for (row, part) in stream.iter_mut().zip(&part) {
                add_scaled(row, part, residual);
            }
        }
        self.normalise("output_norm", &mut stream);
        let head = if self.header.tensor("output.weight").is_some() { "output" } else { "token_embd" };
        let mut logits = self.project(head, &stream).unwrap();
        let divisor = if self.is(&["granite", "granitemoe"]) { self.number("logit_scale").unwrap() } else { 1.0 };
        let cap = match self.number("final_logit_softcapping") {
            None if self.is(&["gemma2"]) => Some(30.0),
            cap => cap.filter(|_| self.is(&["gemma2", "gemma3"])),
        };
        for logit in logits.iter_mut().flatten() {
            *logit /= divisor;
            if let Some(cap) = cap {
                *logit = cap * (*logit / cap).tanh();
            }
        }
        logits
    }

    /// Tokens that a token of this layer sees, itself included.
    fn window(&self, layer: usize) -> Option<usize> {
        let period = match self.architecture() {
            "gemma2" | "gpt-oss" => 2,
            "olmo2" => 4,
            "gemma3" => 6,
            _ => return None,
        };
        let default = self.is(&["gemma2"]).then_some(4096);
        let window = self.count("attention.sliding_window").or(default).filter(|&window| window > 0)?;
        let period = self.count("attention.sliding_window_pattern").unwrap_or(period);
        (layer % period + 1 < period).then_some(window)
    }

    /// How the heads of a layer turn; none where they do not.
    pub(crate) fn rope(&self, layer: usize) -> Option<Rope> {
        if self.is(&["smollm3"]) && (layer + 1).is_multiple_of(4) {
            return None;
        }
        if self.is(&["granite"]) && self.number("rope.scaling.finetuned") == Some(0.0) {
            return None;
        }
        let text = self.header.metadata.text(&format!("{}.rope.scaling.type", self.architecture()));
        let kind = text.unwrap_or("linear");
        let factor = self.number("rope.scaling.factor").or(self.number("rope.scale_linear"));
        let factor = factor.filter(|&factor| factor != 0.0 && kind != "none").unwrap_or(1.0);
        let original = self.number("rope.scaling.original_context_length");
        let original = original.unwrap_or_else(|| self.number("context_length").unwrap());
        let is_yarn = kind == "yarn";
        let attention = self.number("rope.scaling.attn_factor").unwrap_or(1.0);
        // With this key the scores' scale has the temperature.
        let is_apart = self.number("rope.scaling.yarn_log_multiplier").is_some();
        let temperature = if is_yarn && factor > 1.0 && !is_apart { 0.1 * factor.ln() + 1.0 } else { 1.0 };
        let long = if self.context as f64 > original { "rope_factors_long" } else { "rope_factors_short" };
        let mut rope = Rope {
            pairs_are_halves: !self.is(&["llama", "granite", "granitemoe", "smollm3", "glm4", "deepseek2"])
                || (self.is(&["glm4"]) && self.has_sections()),
            base: self.number("rope.freq_base").unwrap_or(10_000.0),
            scale: 1.0 / factor,
            is_yarn,
            magnitude: attention * temperature,
            original,
            factors: self.tensor("rope_freqs.weight").or_else(|| self.tensor(&format!("{long}.weight"))),
        };
        if self.window(layer).is_some() {
            let stated = self.number("rope.freq_base_swa");
            match self.architecture() {
                "gemma3" => (rope.base, rope.scale, rope.is_yarn) = (stated.unwrap_or(10_000.0), 1.0, false),
                "olmo2" => (rope.scale, rope.is_yarn, rope.magnitude) = (1.0, false, 1.0),
                _ => rope.base = stated.unwrap_or(rope.base),
            }
        }
        Some(rope)
    }

    /// Positions of several dimensions, which are all the same in text; their pairs are halves.
    fn has_sections(&self) -> bool {
        let sections = self.header.metadata.integers(&format!("{}.rope.dimension_sections", self.architecture()));
        sections.is_some_and(|sections| sections.iter().any(|&section| section > 0))
    }

    fn attention(&self, layer: usize, input: &Rows) -> Rows {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let heads = self.count("attention.head_count").unwrap();
        let kv_heads = self.count("attention.head_count_kv").unwrap();
        let key = self.count("attention.key_length").unwrap();
        let project = |part: &str| self.project(&name(part), input).unwrap();
        let (mut queries, mut keys, mut values) = if self.header.tensor(&name("attn_qkv.weight")).is_some() {
            let mut rows = project("attn_qkv");
            let biases: Vec<f64> = ["attn_q.bias", "attn_k.bias", "attn_v.bias"]
                .iter()
                .filter_map(|part| self.tensor(&name(part)))
                .flatten()
                .collect();
            for row in &mut rows {
                add_scaled(row, &biases, 1.0);
            }
            let part = |from: usize, count: usize| -> Rows {
                rows.iter().map(|row| row[from * key..(from + count) * key].to_vec()).collect()
            };
            (part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads))
        } else {
            (project("attn_q"), project("attn_k"), project("attn_v"))
        };
        self.normalise(&name("attn_q_norm"), &mut queries);
        self.normalise(&name("attn_k_norm"), &mut keys);
        if let Some(rope) = self.rope(layer) {
            let dimensions = self.count("rope.dimension_count").unwrap_or(key);
            for rows in [&mut queries, &mut keys] {
                for (position, row) in rows.iter_mut().enumerate() {
                    row.chunks_exact_mut(key).for_each(|head| rope.turn(&mut head[..dimensions], position));
                }
            }
        }
        if self.rounds_cache {
            for value in keys.iter_mut().chain(&mut values).flatten() {
                *value = half(*value);
            }
        }
        let scale = self.score_scale(key);
        let cap = self.is(&["gemma2"]).then(|| self.number("attn_logit_softcapping").unwrap_or(50.0));
        let sinks = self.tensor(&name("attn_sinks.weight"));
        let mut mixed: Rows = vec![vec![0.0; heads * key]; input.len()];
        for (position, out) in mixed.iter_mut().enumerate() {
            let first = self.window(layer).map_or(0, |window| (position + 1).saturating_sub(window));
            for (head, out) in out.chunks_exact_mut(key).enumerate() {
                let query = &queries[position][head * key..][..key];
                let shared = head / (heads / kv_heads) * key;
                let score = |at: usize| {
                    let score = scale * sum_of_products(query, &keys[at][shared..][..key]);
                    cap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let mut scores: Vec<f64> = (first..=position).map(score).collect();
                if let Some(sinks) = &sinks {
                    scores.push(sinks[head]);
                }
                for (at, weight) in (first..=position).zip(softmax(&scores)) {
                    add_scaled(out, &values[at][shared..][..key], weight);
                }
            }
        }
        self.project(&name("attn_output"), &mixed).unwrap()
    }

    fn score_scale(&self, key: usize) -> f64 {
        let layers = self.count("block_count").unwrap();
        let plain = 1.0 / (key as f64).sqrt();
        match self.architecture() {
            "granite" | "granitemoe" => self.number("attention.scale").filter(|&scale| scale != 0.0).unwrap_or(plain),
            // Gemma's 27B models: the width per head, not the head's length.
            "gemma2" if layers == 46 => self.scale_by_width(),
            "gemma3" if layers == 62 => self.scale_by_width(),
            _ => plain,
        }
    }

    fn scale_by_width(&self) -> f64 {
        let per_head = self.count("embedding_length").unwrap() / self.count("attention.head_count").unwrap();
        1.0 / (per_head as f64).sqrt()
    }

    /// A network with a gate; `suffix` names the shared expert's.
    fn dense(&self, layer: usize, suffix: &str, input: &Rows) -> Rows {
        let name = |part: &str| format!("blk.{layer}.{part}{suffix}");
        let up = self.project(&name("ffn_up"), input).unwrap();
        let gate = self.project(&name("ffn_gate"), input);
        let activation = if self.is(&["gemma", "gemma2", "gemma3"]) { gelu } else { silu };
        let inner: Rows = match gate {
            Some(gate) => {
                let product = |(gate, up): (&Vec<f64>, &Vec<f64>)| {
                    gate.iter().zip(up).map(|(&gate, up)| activation(gate) * up).collect()
                };
                gate.iter().zip(&up).map(product).collect()
            }
            // Both in one matrix, the gate first.
            None => up
                .iter()
                .map(|row| {
                    let (gate, up) = row.split_at(row.len() / 2);
                    gate.iter().zip(up).map(|(&gate, up)| activation(gate) * up).collect()
                })
                .collect(),
        };
        self.project(&name("ffn_down"), &inner).unwrap()
    }

    fn experts(&self, layer: usize, input: &Rows) -> Rows {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let count = self.count("expert_count").unwrap();
        let used = self.count("expert_used_count").unwrap();
        let logits = self.project(&name("ffn_gate_inp"), input).unwrap();
        let stacked = |part: &str| self.weight(&name(part)).unwrap();
        let [gates, ups, downs] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]
            .map(|part| (stacked(&format!("{part}.weight")), self.tensor(&name(&format!("{part}.bias")))));
        let apply = |(weight, bias): &(Weight, Option<Vec<f64>>), expert: usize, input: &[f64]| {
            let length = weight.values.len() / count;
            let mut out = weight.times(expert * length..(expert + 1) * length, input);
            if let Some(bias) = bias {
                let rows = out.len();
                add_scaled(&mut out, &bias[expert * rows..][..rows], 1.0);
            }
            out
        };
        let mut outputs = match self.header.tensor(&name("ffn_up_shexp.weight")) {
            Some(_) => self.dense(layer, "_shexp", input),
            None => input.iter().map(|row| vec![0.0; row.len()]).collect(),
        };
        if let Some(gates) = self.project(&name("ffn_gate_inp_shexp"), input) {
            for (row, gate) in outputs.iter_mut().zip(gates) {
                for value in row {
                    *value /= 1.0 + (-gate[0]).exp();
                }
            }
        }
        for (position, ((input, logits), output)) in input.iter().zip(logits).zip(&mut outputs).enumerate() {
            self.note_ties(position, &logits, used);
            for (expert, weight) in self.route(layer, &logits, used) {
                let (gate, up) = (apply(&gates, expert, input), apply(&ups, expert, input));
                let inner: Vec<f64> = gate.iter().zip(&up).map(|(&gate, &up)| self.expert_gate(gate, up)).collect();
                add_scaled(output, &apply(&downs, expert, &inner), weight);
            }
        }
        outputs
    }

    fn expert_gate(&self, gate: f64, up: f64) -> f64 {
        if !self.is(&["gpt-oss"]) {
            return silu(gate) * up;
        }
        let (gate, up) = (gate.min(7.0), up.clamp(-7.0, 7.0));
        gate / (1.0 + (-1.702 * gate).exp()) * (up + 1.0)
    }

    /// Notes a position whose last chosen expert is nearly tied with the first that is not.
    fn note_ties(&self, position: usize, logits: &[f64], used: usize) {
        let mut order = logits.to_vec();
        order.sort_by(|a, b| b.total_cmp(a));
        if used < order.len() && order[used - 1] - order[used] < TIE {
            self.first_tie.set(self.first_tie.get().min(position));
        }
    }

    /// The chosen experts of one token with their weights.
    fn route(&self, layer: usize, logits: &[f64], used: usize) -> Vec<(usize, f64)> {
        if self.is(&["deepseek2"]) {
            return self.route_by_groups(layer, logits, used);
        }
        let all = softmax(logits);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(used);
        let weights = match self.architecture() {
            // The largest logits, softmax over those.
            "gpt-oss" => softmax(&order.iter().map(|&expert| logits[expert]).collect::<Vec<_>>()),
            // Softmax over all, then the largest as they are.
            "qwen2moe" | "olmoe" => order.iter().map(|&expert| all[expert]).collect(),
            // Softmax over all, then the largest made to sum to one.
            _ => {
                let sum: f64 = order.iter().map(|&expert| all[expert]).sum();
                order.iter().map(|&expert| all[expert] / sum).collect()
            }
        };
        let scale = self.number("expert_weights_scale").filter(|&scale| scale != 0.0).unwrap_or(1.0);
        order.into_iter().zip(weights.into_iter().map(|weight| weight * scale)).collect()
    }
}

impl Rope {
    /// `ggml_rope_ext` on one head.
    pub(crate) fn turn(&self, head: &mut [f64], position: usize) {
        let dimensions = head.len() as f64;
        let correction = |turns: f64| {
            dimensions * (self.original / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * self.base.ln())
        };
        let (start, end) = (correction(32.0).floor().max(0.0), correction(1.0).ceil().min(dimensions - 1.0));
        let half = head.len() / 2;
        for pair in 0..half {
            let plain = position as f64 * self.base.powf(-2.0 * pair as f64 / dimensions)
                / self.factors.as_ref().map_or(1.0, |factors| factors[pair]);
            let mut theta = plain * self.scale;
            if self.is_yarn {
                let ramp = 1.0 - ((pair as f64 - start) / (end - start).max(0.001)).clamp(0.0, 1.0);
                theta = theta * (1.0 - ramp) + plain * ramp;
            }
            let (sine, cosine) = (theta.sin() * self.magnitude, theta.cos() * self.magnitude);
            let (first, second) = if self.pairs_are_halves { (pair, pair + half) } else { (2 * pair, 2 * pair + 1) };
            let (x, y) = (head[first], head[second]);
            (head[first], head[second]) = (x * cosine - y * sine, x * sine + y * cosine);
        }
    }
}
