//! The reference's latent attention and its choice of experts, after DeepSeek-V2 (sections 2.1 and 2.2) and
//! DeepSeek-V3 (section 2.1): every key and every value is made.

use crate::decoder::{Reference, Rounding, Rows, add_scaled, half, softmax, sum_of_products};

impl Reference<'_> {
    /// The matrices of one head that make keys and values of a latent, `[output][rank]`.
    fn up(&self, layer: usize, head: usize, nope: usize, rank: usize) -> (Rows, Rows) {
        let rows = |values: &[f64]| -> Rows { values.chunks_exact(rank).map(<[f64]>::to_vec).collect() };
        let (value, heads) = (self.value(), self.count("attention.head_count").unwrap());
        let whole = format!("blk.{layer}.attn_kv_b.weight");
        if let Some(both) = self.weight(&whole) {
            let of_head = &both.values[head * (nope + value) * rank..][..(nope + value) * rank];
            let (keys, values) = of_head.split_at(nope * rank);
            let is_plain = self.header.tensor(&whole).unwrap().element_type.block().0 == 1;
            // Of blocks the engine holds the keys' part in half precision.
            let keys: Vec<f64> = keys.iter().map(|&key| if is_plain { key } else { half(key) }).collect();
            return (rows(&keys), rows(values));
        }
        let keys = self.weight(&format!("blk.{layer}.attn_k_b.weight")).unwrap();
        let values = self.weight(&format!("blk.{layer}.attn_v_b.weight")).unwrap();
        assert_eq!((keys.values.len(), values.values.len()), (heads * nope * rank, heads * value * rank));
        // Keys' matrix lies on its side in these files.
        let of_head = &keys.values[head * nope * rank..][..nope * rank];
        let turned = (0..nope).map(|row| (0..rank).map(|column| of_head[column * nope + row]).collect()).collect();
        (turned, rows(&values.values[head * value * rank..][..value * rank]))
    }

    /// Elements of a value.
    fn value(&self) -> usize {
        self.count("attention.value_length_mla").or(self.count("attention.value_length")).unwrap()
    }

    pub(crate) fn latent_attention(&self, layer: usize, input: &Rows) -> Rows {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let heads = self.count("attention.head_count").unwrap();
        let rank = self.count("attention.kv_lora_rank").unwrap();
        let turning = self.count("rope.dimension_count").unwrap();
        let key = self.count("attention.key_length_mla").or(self.count("attention.key_length")).unwrap();
        let (nope, value) = (key - turning, self.value());
        let mut queries = self.project(&name("attn_q"), input).unwrap_or_else(|| {
            let mut low = self.project(&name("attn_q_a"), input).unwrap();
            self.normalise(&name("attn_q_a_norm"), &mut low);
            self.project(&name("attn_q_b"), &low).unwrap()
        });
        let both = self.project(&name("attn_kv_a_mqa"), input).unwrap();
        let mut latents: Rows = both.iter().map(|row| row[..rank].to_vec()).collect();
        let mut turned: Rows = both.iter().map(|row| row[rank..].to_vec()).collect();
        self.normalise(&name("attn_kv_a_norm"), &mut latents);
        let rope = self.rope(layer).unwrap();
        for (position, (row, key_row)) in queries.iter_mut().zip(&mut turned).enumerate() {
            rope.turn(key_row, position);
            row.chunks_exact_mut(key).for_each(|query| rope.turn(&mut query[nope..], position));
        }
        if self.rounds_cache {
            for number in latents.iter_mut().chain(&mut turned).flatten() {
                *number = half(*number);
            }
        }
        let key_weight = self.weight(&name("attn_k_b.weight"));
        let value_weight = self.weight(&name("attn_v_b.weight")).or_else(|| self.weight(&name("attn_kv_b.weight")));
        let value_weight = value_weight.unwrap();
        let mut mixed: Rows = vec![vec![0.0; heads * value]; input.len()];
        for head in 0..heads {
            let (key_up, value_up) = self.up(layer, head, nope, rank);
            let times = |rows: &Rows, latent: &[f64]| -> Vec<f64> {
                rows.iter().map(|row| sum_of_products(row, latent)).collect()
            };
            let keys: Rows = latents.iter().map(|latent| times(&key_up, latent)).collect();
            let values: Rows = latents.iter().map(|latent| times(&value_up, latent)).collect();
            for (position, out) in mixed.iter_mut().enumerate() {
                let query = &queries[position][head * key..][..key];
                let plain = match &key_weight {
                    Some(weight) => weight.rounded(&query[..nope]),
                    None => query[..nope].to_vec(),
                };
                let score = |at: usize| {
                    let product = sum_of_products(&plain, &keys[at]) + sum_of_products(&query[nope..], &turned[at]);
                    self.latent_scale(key) * product
                };
                let weights = softmax(&(0..=position).map(score).collect::<Vec<_>>());
                let out = &mut out[head * value..][..value];
                if value_weight.rounding == Rounding::None {
                    for (at, weight) in weights.into_iter().enumerate() {
                        add_scaled(out, &values[at], weight);
                    }
                } else {
                    // What the engine rounds is the weighted sum of latents.
                    let mut sum = vec![0.0; rank];
                    for (at, weight) in weights.into_iter().enumerate() {
                        add_scaled(&mut sum, &latents[at], weight);
                    }
                    out.copy_from_slice(&times(&value_up, &value_weight.rounded(&sum)));
                }
            }
        }
        self.project(&name("attn_output"), &mixed).unwrap()
    }

    fn latent_scale(&self, key: usize) -> f64 {
        let factor = self.number("rope.scaling.factor").unwrap_or(1.0);
        let multiplier = self.number("rope.scaling.yarn_log_multiplier").unwrap_or(0.0);
        let attention = self.number("rope.scaling.attn_factor").unwrap_or(1.0);
        let temperature = if multiplier > 0.0 { attention * (1.0 + multiplier * factor.ln()) } else { 1.0 };
        temperature * temperature / (key as f64).sqrt()
    }

    /// The chosen experts of one token with their weights.
    pub(crate) fn route_by_groups(&self, layer: usize, logits: &[f64], used: usize) -> Vec<(usize, f64)> {
        let is_sigmoid = self.count("expert_gating_func") == Some(2);
        let scores: Vec<f64> = if is_sigmoid {
            logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
        } else {
            softmax(logits)
        };
        let mut choices = scores.clone();
        if let Some(bias) = self.tensor(&format!("blk.{layer}.exp_probs_b.bias")) {
            add_scaled(&mut choices, &bias, 1.0);
        }
        let groups = self.count("expert_group_count").unwrap_or(1);
        let size = choices.len() / groups;
        let worth = |group: &[f64]| {
            let best = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let place = group.iter().position(|&choice| choice >= best).unwrap();
            let rest = group.iter().enumerate().filter(|(index, _)| *index != place).map(|(_, &choice)| choice);
            if is_sigmoid { best + rest.fold(f64::NEG_INFINITY, f64::max) } else { best }
        };
        let worths: Vec<f64> = choices.chunks_exact(size).map(worth).collect();
        let is_best = |group: usize| {
            let better = worths.iter().filter(|&&other| other > worths[group]).count();
            better < self.count("expert_group_used_count").unwrap_or(1)
        };
        let mut order: Vec<usize> = (0..choices.len()).filter(|expert| is_best(expert / size)).collect();
        order.sort_by(|&a, &b| choices[b].total_cmp(&choices[a]));
        order.truncate(used);
        let normalises = self.number("expert_weights_norm").is_some_and(|flag| flag != 0.0);
        let sum: f64 = if normalises { order.iter().map(|&expert| scores[expert]).sum() } else { 1.0 };
        let scale = self.number("expert_weights_scale").unwrap_or(1.0);
        order.into_iter().map(|expert| (expert, scores[expert] / sum * scale)).collect()
    }
}
