//! Files of encoders that cannot be: each is an error that names what is wrong.

use hwledger_core::ElementType;
use hwledger_engine::RunError;

use crate::harness::{best_without_tiles, try_load as try_load_decoder};

use super::models::EncoderRecipe;
use super::states::{encoder, try_load};

fn refused(recipe: &EncoderRecipe, expected: &str) {
    let error = try_load(recipe.bytes()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let names = [
        "token_embd",
        "token_embd_norm.weight",
        "token_embd_norm.bias",
        "position_embd",
        "blk.0.attn_q",
        "blk.1.attn_output",
        "blk.0.attn_output_norm.bias",
        "blk.1.ffn_up",
        "blk.1.layer_output_norm.weight",
    ];
    for missing in names {
        refused(&EncoderRecipe { missing: Some(missing), ..EncoderRecipe::bert() }, missing);
    }
    refused(&EncoderRecipe { missing: Some("epsilon"), ..EncoderRecipe::bert() }, "bert.attention.layer_norm_epsilon");
    refused(&EncoderRecipe { missing: Some("sight"), ..EncoderRecipe::bert() }, "see only those before them");
    // Segments are optional.
    let plain = EncoderRecipe { missing: Some("token_types"), ..EncoderRecipe::nomic() };
    assert!(try_load(plain.bytes()).unwrap().segment.is_none());
}

#[test]
fn other_encoders_are_refused_by_name() {
    for architecture in ["modern-bert", "jina-bert-v2", "jina-bert-v3", "neo-bert", "nomic-bert-moe", "eurobert"] {
        let recipe = EncoderRecipe { architecture, ..EncoderRecipe::bert() };
        refused(&recipe, &format!("encoders of the architecture `{architecture}`"));
    }
    let writes = try_load_decoder(EncoderRecipe::bert().bytes(), 80).unwrap_err().to_string();
    assert!(writes.contains("`hwledger embed`"), "{writes}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    // Heads that do not divide the width leave matrices that are not those of the heads.
    refused(&EncoderRecipe { heads: 5, ..EncoderRecipe::bert() }, "has the shape");
    refused(&EncoderRecipe { heads: 0, ..EncoderRecipe::bert() }, "does not run");
    refused(
        &EncoderRecipe { weight: ElementType::Mxfp4, width: 96, bias: f32::NAN, ..EncoderRecipe::bert() },
        "cannot be used",
    );
}

#[test]
fn texts_that_cannot_be_are_refused_and_leave_no_trace() {
    let model = try_load(EncoderRecipe::bert().bytes()).unwrap();
    let mut encoder = encoder(&model, best_without_tiles(), 1);
    let before = encoder.states(&[&[5, 6]]).unwrap().to_vec();
    assert!(matches!(encoder.states(&[&[5], &[83]]), Err(RunError::Token { token: 83, vocabulary: 83 })));
    assert!(matches!(encoder.states(&[&[5; 81]]), Err(RunError::Context { tokens: 81, context: 80 })));
    assert!(encoder.states(&[]).unwrap().is_empty());
    assert!(encoder.states(&[&[]]).unwrap().is_empty());
    assert!(encoder.states(&[&[5, 6]]).unwrap() == before);
}

#[test]
fn values_beyond_numbers_are_found_out() {
    // Biases whose products are beyond single precision.
    let model = try_load(EncoderRecipe { bias: 1e38, ..EncoderRecipe::bert() }.bytes()).unwrap();
    let mut encoder = encoder(&model, best_without_tiles(), 1);
    assert!(matches!(encoder.states(&[&[5, 6, 7]]), Err(RunError::NotANumber)));
}

#[test]
fn files_that_were_cut_or_changed_never_panic() {
    let bytes = EncoderRecipe { layers: 1, ..EncoderRecipe::bert() }.bytes();
    for length in (0..bytes.len()).step_by(997) {
        assert!(try_load(bytes[..length].to_vec()).is_err(), "{length}");
    }
    // Each byte of the first kilobyte and some beyond: keys, extents, types.
    for place in (0..1024).chain((1024..6000).step_by(7)) {
        for flipped in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[place] ^= flipped;
            if let Ok(model) = try_load(changed) {
                // What still loads must still run or say why not.
                let _ = encoder(&model, best_without_tiles(), 1).states(&[&[5, 6, 7]]);
            }
        }
    }
}
