//! Qwen2.5-Omni and Qwen3-Omni: the thinker, which reads text, images, video and sound and writes text
//! (transformers `modeling_qwen2_5_omni.py`, `modeling_qwen3_omni_moe.py`).

use hwledger_core::ModelSpec;

use super::qwen;
use crate::Diagnostic;
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::towers::{audio, qwen_vision};

/// Says what is left out where the file describes more than the thinker.
fn remark_on_speech(source: &mut Source<'_>) {
    if source.root.has("talker_config") {
        let text = "describes the model that speaks; only the thinker, which writes text, is planned";
        source.diagnostics.push(Diagnostic::new("talker_config", text));
    }
}

/// Qwen2.5-Omni.
pub(super) fn read_qwen2_5(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = qwen::read_qwen2(source)?;
    model.towers.push(audio::qwen2_5_omni(source)?);
    model.towers.push(qwen_vision::qwen2_5(source)?);
    remark_on_speech(source);
    Ok(model)
}

/// Qwen3-Omni.
pub(super) fn read_qwen3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = qwen::read_qwen3_moe(source)?;
    model.towers.push(audio::qwen3_omni(source)?);
    model.towers.push(qwen_vision::qwen3(source)?);
    remark_on_speech(source);
    Ok(model)
}
