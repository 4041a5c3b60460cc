//! xLSTM-7B: one matrix memory per head and layer, no attention (Beck et al. 2024; transformers `modeling_xlstm.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Mixer, Recurrent, RecurrentKind, Role};

use crate::huggingface::blocks;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};

/// A share of the hidden size, rounded up to a multiple.
fn share(config: &Config<'_>, hidden: u64, key: &str, default: f64, multiple: u64) -> Result<u64, ConfigError> {
    let factor = config.number(key)?.unwrap_or(default);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a width, clamped")]
    let share = (hidden as f64 * factor).clamp(1.0, 1e7) as u64;
    Ok(share.next_multiple_of(multiple.max(1)))
}

/// xLSTM.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required_of(&["hidden_size", "embedding_dim"])?;
    let heads = config.required("num_heads")?;
    let has_bias = config.flag("use_bias", false)?;
    // xLSTMConfig halves queries and keys, and rounds to multiples of 64.
    let keys = share(&config, hidden, "qk_dim_factor", 0.5, 64)?;
    let values = share(&config, hidden, "v_dim_factor", 1.0, 64)?;
    let rounding = config.count("ffn_round_up_to_multiple_of")?.unwrap_or(64);
    let width = share(&config, hidden, "ffn_proj_factor", 2.667, rounding)?;
    // The reference never ties the head.
    let mut model = source.decoder(hidden, config.required("vocab_size")?, false);
    for index in 0..source.layers_under(&["num_hidden_layers", "num_blocks"])? {
        let mut layer = source.layer(format!("backbone.blocks.{index}"));
        for (name, rows) in [("q", keys), ("k", keys), ("v", values), ("ogate_preact", values)] {
            layer.linear_with_bias(Role::RecurrentIn, &format!("mlstm_layer.{name}"), rows, hidden, has_bias);
        }
        for name in ["igate_preact", "fgate_preact"] {
            layer.linear_with_bias(Role::RecurrentIn, &format!("mlstm_layer.{name}"), heads, hidden, true);
        }
        layer.norm(values, has_bias);
        layer.linear_with_bias(Role::RecurrentOut, "mlstm_layer.out_proj", hidden, values, has_bias);
        blocks::gated_feed_forward(&mut layer, hidden, width, has_bias);
        layer.norm(hidden, has_bias);
        layer.norm(hidden, has_bias);
        let recurrent = Recurrent {
            kind: RecurrentKind::Lightning,
            heads,
            inner_size: values,
            state_size: keys / heads,
            groups: heads,
            convolution_channels: 0,
            convolution_taps: 0,
            // The memory of each head, its normaliser, and the largest gate so far.
            state_elements: (keys / heads).saturating_mul(values).saturating_add(keys).saturating_add(heads),
            shift_elements: 0,
        };
        let feed_forward = FeedForward::Dense { width, activation: Activation::Gated };
        model.decoder.push(layer.finish(Mixer::Recurrent(recurrent), feed_forward));
    }
    Ok(model)
}
