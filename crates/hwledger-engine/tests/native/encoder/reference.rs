//! An encoder in double precision, written plainly after the papers and `modeling_bert.py` and
//! `modeling_nomic_bert.py` of transformers 5: one text at once, every score computed.

use crate::decoder::{Reference, Rows, add_scaled, silu, softmax, sum_of_products};

/// The error function by a series of positive terms: `2 / sqrt(pi) x e^(-x^2) x sum of 2^n x^(2n+1) / (2n+1)!!`.
fn error_function(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + error_function(x / 2.0_f64.sqrt()))
}

fn normalise(model: &Reference<'_>, name: &str, rows: &mut Rows) {
    let weight = model.tensor(&format!("{name}.weight")).unwrap();
    let bias = model.tensor(&format!("{name}.bias")).unwrap();
    let epsilon = model.number("attention.layer_norm_epsilon").unwrap();
    for row in rows {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / row.len() as f64;
        for (index, value) in row.iter_mut().enumerate() {
            *value = (*value - mean) / (variance + epsilon).sqrt() * weight[index] + bias[index];
        }
    }
}

fn add(rows: &mut Rows, others: &Rows) {
    for (row, other) in rows.iter_mut().zip(others) {
        add_scaled(row, other, 1.0);
    }
}

/// The states of a text after the last layer.
pub(crate) fn states(model: &Reference<'_>, tokens: &[u32]) -> Rows {
    let hidden = model.count("embedding_length").unwrap();
    let row = |table: &[f64], index: usize| table[index * hidden..][..hidden].to_vec();
    let embedding = model.tensor("token_embd.weight").unwrap();
    let mut rows: Rows = tokens.iter().map(|&token| row(&embedding, token as usize)).collect();
    let segments = model.tensor("token_types.weight");
    let positions = model.tensor("position_embd.weight");
    for (position, values) in rows.iter_mut().enumerate() {
        if let Some(segments) = &segments {
            add_scaled(values, &row(segments, 0), 1.0);
        }
        if let Some(positions) = &positions {
            add_scaled(values, &row(positions, position), 1.0);
        }
    }
    normalise(model, "token_embd_norm", &mut rows);
    for layer in 0..model.count("block_count").unwrap() {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mixed = attention(model, layer, &rows);
        add(&mut rows, &model.project(&name("attn_output"), &mixed).unwrap());
        normalise(model, &name("attn_output_norm"), &mut rows);
        let mut inner = model.project(&name("ffn_up"), &rows).unwrap();
        match model.project(&name("ffn_gate"), &rows) {
            Some(gates) => {
                for (up, gate) in inner.iter_mut().flatten().zip(gates.iter().flatten()) {
                    *up *= silu(*gate);
                }
            }
            None => inner.iter_mut().flatten().for_each(|value| *value = gelu(*value)),
        }
        add(&mut rows, &model.project(&name("ffn_down"), &inner).unwrap());
        normalise(model, &name("layer_output_norm"), &mut rows);
    }
    rows
}

/// The outputs of all heads of a layer.
fn attention(model: &Reference<'_>, layer: usize, rows: &Rows) -> Rows {
    let heads = model.count("attention.head_count").unwrap();
    let width = rows[0].len();
    let head = width / heads;
    let name = |part: &str| format!("blk.{layer}.{part}");
    let parts: Vec<Rows> = match model.project(&name("attn_qkv"), rows) {
        Some(all) => (0..3).map(|part| all.iter().map(|row| row[part * width..][..width].to_vec()).collect()).collect(),
        None => ["attn_q", "attn_k", "attn_v"].map(|part| model.project(&name(part), rows).unwrap()).into(),
    };
    let [mut queries, mut keys, values]: [Rows; 3] = parts.try_into().unwrap();
    if model.is(&["nomic-bert"]) {
        let base = model.number("rope.freq_base").unwrap();
        for rows in [&mut queries, &mut keys] {
            for (position, row) in rows.iter_mut().enumerate() {
                for values in row.chunks_exact_mut(head) {
                    turn(values, position, base);
                }
            }
        }
    }
    let attend = |query: &Vec<f64>| {
        (0..heads)
            .flat_map(|index| {
                let part = index * head..(index + 1) * head;
                let score = |key: &Vec<f64>| sum_of_products(&query[part.clone()], &key[part.clone()]);
                let scores: Vec<f64> = keys.iter().map(|key| score(key) / (head as f64).sqrt()).collect();
                let mut out = vec![0.0; head];
                for (weight, value) in softmax(&scores).into_iter().zip(&values) {
                    add_scaled(&mut out, &value[part.clone()], weight);
                }
                out
            })
            .collect()
    };
    queries.iter().map(attend).collect()
}

/// Turns each element of a head's first half with the one half a head on.
fn turn(head: &mut [f64], position: usize, base: f64) {
    let half = head.len() / 2;
    for pair in 0..half {
        let angle = position as f64 * base.powf(-(pair as f64) / half as f64);
        let (x, y) = (head[pair], head[pair + half]);
        head[pair] = x * angle.cos() - y * angle.sin();
        head[pair + half] = x * angle.sin() + y * angle.cos();
    }
}
