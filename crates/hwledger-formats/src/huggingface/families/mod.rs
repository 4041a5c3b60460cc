//! One file per family of architectures; this table says which reads what.

mod bart;
mod bert;
mod bloom;
mod cohere;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod gpt;
mod llama;
mod llava;
mod minicpm3;
mod mllama;
mod phi;
mod qwen;
mod remote;
mod t5;

use hwledger_core::ModelSpec;

use super::blocks::Heads;
use super::builder::Source;
use super::config::ConfigError;
use crate::Diagnostic;

/// Reads the model that a source describes.
pub(crate) type Reader = fn(&mut Source<'_>) -> Result<ModelSpec, ConfigError>;

/// The reader of `model_type`.
pub(crate) fn reader(model_type: &str) -> Option<Reader> {
    Some(match model_type {
        "albert" => bert::read_albert,
        "apertus" => llama::read_apertus,
        "aquila" | "granite" | "internlm3" | "iquestcoder" | "llama" | "minicpm" | "xverse" | "yi" => llama::read,
        "arcee" => llama::read_arcee,
        "aya_vision" | "cohere2_vision" => llava::read_cohere,
        "baichuan" => remote::read_baichuan,
        "bart" => bart::read_bart,
        "bert" | "camembert" | "ernie" | "roberta" | "xlm-roberta" => bert::read,
        "bitnet" => llama::read_bitnet,
        "bloom" => bloom::read_bloom,
        "chatglm" => glm::read_chatglm,
        "codegen" | "gptj" => gpt::read_gptj,
        "cohere" => cohere::read,
        "cohere2" => cohere::read_cohere2,
        "cwm" => llama::read_cwm,
        "deberta" | "deberta-v2" => bert::read_deberta,
        "deci" | "decilm" | "nemotron-nas" => remote::read_decilm,
        "diffllama" => llama::read_diffllama,
        "distilbert" => bert::read_distilbert,
        "electra" => bert::read_electra,
        "ernie4_5" => llama::read_ernie,
        "eurobert" => bert::read_eurobert,
        "exaone" => llama::read_exaone3,
        "exaone4" => llama::read_exaone4,
        "falcon" | "RefinedWeb" | "RefinedWebModel" => bloom::read_falcon,
        "fuyu" => llava::read_fuyu,
        "gemma" => gemma::read,
        "gemma2" => gemma::read_gemma2,
        "gemma3" => gemma::read_gemma3,
        "gemma3_text" => gemma::read_gemma3_text,
        "gemma3n" => gemma3n::read,
        "gemma3n_text" => gemma3n::read_text,
        "gemma4" => gemma4::read,
        "gemma4_text" => gemma4::read_text,
        "glm" => glm::read_glm,
        "glm4" => glm::read_glm4,
        "glm4v" | "glm46v" => glm::read_glm4v,
        "glm4v_text" => glm::read_glm4,
        "gpt2" | "gpt-sw3" => gpt::read_gpt2,
        "gpt_bigcode" => gpt::read_bigcode,
        "gpt_neo" => gpt::read_gpt_neo,
        "gpt_neox" => gpt::read_neox,
        "granite_swa" => llama::read_granite_swa,
        "helium" => llama::read_helium,
        "hunyuan_v1_dense" => llama::read_hunyuan,
        "hyperclovax" => llama::read_hyperclovax,
        "idefics2" => llava::read_idefics2,
        "idefics3" | "smolvlm" => llava::read_idefics3,
        "internlm" | "internlm2" => remote::read_internlm,
        "internvl" | "internvl_chat" => llava::read_internvl,
        "jais2" | "nemotron" => llama::read_nemotron,
        "lighton_ocr" | "mistral3" => llava::read_mistral3,
        "llava" => llava::read,
        "llava_next" | "llava_next_video" | "llava_onevision" => llava::read_next,
        "m2m_100" => bart::read_m2m,
        "marian" => bart::read_marian,
        "mbart" => bart::read_mbart,
        "mimo" => llama::read_mimo,
        "minicpm3" | "youtu" => minicpm3::read,
        "ministral" => llama::read_ministral,
        "ministral3" | "mistral" => llama::read_mistral,
        "mllama" | "mllama_text_model" => mllama::read,
        "modernbert" | "modernbert-decoder" => bert::read_modernbert,
        "mpnet" => bert::read_mpnet,
        "mpt" => bloom::read_mpt,
        "mt5" | "t5" | "umt5" => t5::read,
        "nanochat" => llama::read_nanochat,
        "nomic_bert" => bert::read_nomic,
        "olmo" => llama::read_olmo,
        "olmo2" | "olmo3" => llama::read_olmo2,
        "openai-gpt" => gpt::read_openai_gpt,
        "opt" => bloom::read_opt,
        "orion" => remote::read_orion,
        "paligemma" => gemma::read_paligemma,
        "pegasus" => bart::read_pegasus,
        "persimmon" => phi::read_persimmon,
        "phi" => phi::read,
        "phi3" => phi::read_phi3,
        "qwen" => qwen::read_qwen,
        "qwen2" => qwen::read_qwen2,
        "qwen2_5_vl" => qwen::read_qwen2_5_vl,
        "qwen2_audio" => llava::read_qwen2_audio,
        "qwen2_vl" => qwen::read_qwen2_vl,
        "qwen2_vl_text" | "qwen2_5_vl_text" => qwen::read_qwen2,
        "qwen3" => qwen::read_qwen3,
        "qwen3_moe" => qwen::read_qwen3_moe,
        "qwen3_vl" => qwen::read_qwen3_vl,
        "qwen3_vl_moe" => qwen::read_qwen3_vl_moe,
        "qwen3_vl_moe_text" => qwen::read_qwen3_moe,
        "qwen3_vl_text" => qwen::read_qwen3,
        "seed_oss" => llama::read_seed_oss,
        "smollm3" => llama::read_smollm3,
        "stablelm" => phi::read_stablelm,
        "starcoder2" => gpt::read_starcoder2,
        "vaultgemma" => gemma::read_vaultgemma,
        "video_llava" => llava::read_video,
        "vipllava" => llava::read_vip,
        "voxtral" => llava::read_voxtral,
        "whisper" => bart::read_whisper,
        _ => return None,
    })
}

/// Reads an unknown model as a plain decoder.
pub(crate) fn unknown(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    llama::read(source)
}

/// The language model of a configuration that nests one, read by its own model type.
fn language_model(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let inner = source.text.model_type()?.unwrap_or("llama");
    if source.is_nested {
        return Err(source.text.contradiction("model_type", format!("`{inner}` nests yet another language model")));
    }
    source.is_nested = true;
    let read = reader(inner).unwrap_or(llama::read);
    if reader(inner).is_none() {
        let place = source.text.place("model_type");
        source.diagnostics.push(Diagnostic::new(place, format!("`{inner}` is not known; it is read as Llama")));
    }
    let model = read(source);
    source.is_nested = false;
    model
}

/// Says what the figures leave out for encoder-decoder models.
fn remark_on_cross_attention(source: &mut Source<'_>, heads: Heads) {
    let elements = heads.kv_heads.saturating_mul(heads.head_dim).saturating_mul(2);
    source.diagnostics.push(Diagnostic::new(
        "is_encoder_decoder",
        format!(
            "each decoder layer also keeps {elements} elements per token of the encoder's input, which no figure counts"
        ),
    ));
}
