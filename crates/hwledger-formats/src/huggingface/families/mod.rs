//! One file per family of architectures; this table says which reads what.

mod bart;
mod bert;
mod bloom;
mod cohere;
mod deepseek;
mod deepseek_v4;
mod ernie_vl;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod glm_moe;
mod gpt;
mod hybrid;
mod lfm2;
mod linear;
mod llama;
mod llama4;
mod llava;
mod mamba;
mod mimo;
mod minicpm3;
mod minimax_m3;
mod mistral_large;
mod mixtral;
mod mllama;
mod nemotron_h;
mod olmo_hybrid;
mod omni;
mod phi;
mod qwen;
mod qwen_next;
mod recurrent;
mod remote;
mod step;
mod t5;
mod t5gemma;
mod unknown;
mod vision_language;
mod xlstm;
mod zamba;

use hwledger_core::ModelSpec;

use super::blocks::Heads;
use super::builder::Source;
use super::config::ConfigError;
use crate::Diagnostic;

/// Reads the model that a source describes.
pub(crate) type Reader = fn(&mut Source<'_>) -> Result<ModelSpec, ConfigError>;

/// The reader of `model_type`.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn reader(model_type: &str) -> Option<Reader> {
    Some(match model_type {
        "RefinedWeb" | "RefinedWebModel" | "falcon" => bloom::read_falcon,
        "afmoe" => glm_moe::read_afmoe,
        "albert" => bert::read_albert,
        "apertus" => llama::read_apertus,
        "aquila" | "granite" | "internlm3" | "iquestcoder" | "llama" | "minicpm" | "xverse" | "yi" => llama::read,
        "arcee" => llama::read_arcee,
        "arctic" => mixtral::read_arctic,
        "aria" => vision_language::read_aria,
        "aria_text" => vision_language::read_aria_text,
        "audioflamingo3" | "musicflamingo" => vision_language::read_flamingo,
        "axk1" => deepseek::read_axk1,
        "aya_vision" | "cohere2_vision" => llava::read_cohere,
        "baichuan" => remote::read_baichuan,
        "bailing_hybrid" => linear::read_bailing_hybrid,
        "bailing_moe" | "bailing_moe_v2" => glm_moe::read_bailing,
        "bailing_moe_linear" => linear::read_bailing_linear,
        "bamba" => hybrid::read_bamba,
        "bart" | "mvp" | "plbart" => bart::read_bart,
        "bert" | "camembert" | "data2vec-text" | "ernie" | "ibert" | "megatron-bert" | "roberta" | "xlm-roberta"
        | "xlm-roberta-xl" => bert::read,
        "biogpt" | "xglm" => gpt::read_xglm,
        "bitnet" => llama::read_bitnet,
        "blenderbot-small" => bart::read_blenderbot_small,
        "blip-2" => vision_language::read_blip2,
        "bloom" => bloom::read_bloom,
        "chatglm" => glm::read_chatglm,
        "codegen" | "gptj" => gpt::read_gptj,
        "cohere" => cohere::read,
        "cohere2" => cohere::read_cohere2,
        "cohere2_moe" => cohere::read_cohere2_moe,
        "cwm" => llama::read_cwm,
        "dbrx" => mixtral::read_dbrx,
        "deberta" | "deberta-v2" => bert::read_deberta,
        "deci" | "decilm" | "nemotron-nas" => remote::read_decilm,
        "deepseek" => deepseek::read_v1,
        "deepseek_v2" | "mistral4" => deepseek::read_v2,
        "deepseek_v3" | "kimi_k2" => deepseek::read_v3,
        "deepseek_v32" | "glm_moe_dsa" => deepseek::read_sparse_attention,
        "deepseek_v4" => deepseek_v4::read,
        "diffllama" => llama::read_diffllama,
        "distilbert" => bert::read_distilbert,
        "dots1" => glm_moe::read_dots1,
        "electra" => bert::read_electra,
        "ernie4_5" => llama::read_ernie,
        "ernie4_5_moe" => glm_moe::read_ernie,
        "ernie4_5_moe_vl" | "ernie4_5_vl_moe" => ernie_vl::read,
        "eurobert" => bert::read_eurobert,
        "exaone" => llama::read_exaone3,
        "exaone4" => llama::read_exaone4,
        "exaone4_5" => llava::read_exaone,
        "exaone_moe" => glm_moe::read_exaone,
        "falcon_h1" => hybrid::read_falcon_h1,
        "falcon_mamba" | "mamba" => mamba::read,
        "flex_olmo" | "olmoe" => mixtral::read_olmoe,
        "fuyu" => llava::read_fuyu,
        "gemma" => gemma::read,
        "gemma2" => gemma::read_gemma2,
        "gemma3" | "shieldgemma2" => gemma::read_gemma3,
        "gemma3_text" => gemma::read_gemma3_text,
        "gemma3n" => gemma3n::read,
        "gemma3n_text" => gemma3n::read_text,
        "gemma4" => gemma4::read,
        "gemma4_text" => gemma4::read_text,
        "git" | "grok" | "grok-1" | "grok_1" => mixtral::read_grok,
        "glm" => glm::read_glm,
        "glm4" | "glm4v_text" => glm::read_glm4,
        "glm46v" | "glm4v" => glm::read_glm4v,
        "glm4_moe" | "glm4v_moe_text" => glm_moe::read_glm4,
        "glm4_moe_lite" => deepseek::read_glm_lite,
        "glm4v_moe" => glm::read_glm4v_moe,
        "glm_ocr" => glm::read_glm_ocr,
        "glmasr" => vision_language::read_glm_asr,
        "gpt-sw3" | "gpt2" => gpt::read_gpt2,
        "gpt_bigcode" => gpt::read_bigcode,
        "gpt_neo" => gpt::read_gpt_neo,
        "gpt_neox" => gpt::read_neox,
        "gpt_oss" => mixtral::read_gpt_oss,
        "granite_swa" => llama::read_granite_swa,
        "granite_speech" | "granite_speech_plus" => vision_language::read_granite_speech,
        "granitemoe" | "granitemoeshared" => mixtral::read_granite,
        "granitemoe_swa" => mixtral::read_granite_swa,
        "granitemoehybrid" => hybrid::read_granite,
        "gte" => bert::read_gte,
        "helium" => llama::read_helium,
        "hunyuan_v1_dense" => llama::read_hunyuan,
        "hunyuan_v1_moe" => glm_moe::read_hunyuan,
        "hy_v3" => glm_moe::read_normed,
        "hyperclovax" => llama::read_hyperclovax,
        "idefics2" => llava::read_idefics2,
        "idefics3" | "smolvlm" => llava::read_idefics3,
        "instructblip" | "instructblipvideo" => vision_language::read_instructblip,
        "internlm" | "internlm2" => remote::read_internlm,
        "internvl" | "internvl_chat" => llava::read_internvl,
        "jais2" | "nemotron" => llama::read_nemotron,
        "jamba" => hybrid::read_jamba,
        "jetmoe" => mixtral::read_jetmoe,
        "kimi_k25" => deepseek::read_kimi_k25,
        "kimi_linear" => linear::read_kimi,
        "laguna" => glm_moe::read_laguna,
        "led" => bart::read_led,
        "lfm2" => lfm2::read,
        "lfm2_moe" => lfm2::read_moe,
        "lfm2_vl" => lfm2::read_vl,
        "lfm3" => lfm2::read_lfm3,
        "lfm3_vl" => vision_language::read_lfm3,
        "lighton_ocr" | "mistral3" | "mistral_large4" => llava::read_mistral3,
        "llama4" => llama4::read,
        "llama4_text" => llama4::read_text,
        "deepseek_vl" | "llava" => llava::read,
        "llava_next" | "llava_next_video" | "llava_onevision" => llava::read_next,
        "longcat_flash" => deepseek::read_longcat,
        "longformer" => bert::read_longformer,
        "m2m_100" => bart::read_m2m,
        "mamba2" => mamba::read_mamba2,
        "marian" => bart::read_marian,
        "mbart" => bart::read_mbart,
        "mellum" => glm_moe::read_mellum,
        "mimo" => llama::read_mimo,
        "mimo_v2_flash" => mimo::read,
        "minicpm3" | "youtu" => minicpm3::read,
        "minicpm_moe" => glm_moe::read_minicpm,
        "minimax" | "minimax_text_01" => linear::read_minimax,
        "minimax_m2" => mixtral::read_minimax_m2,
        "minimax_m3_vl" => minimax_m3::read,
        "minimax_m3_vl_text" => minimax_m3::read_text,
        "ministral" => llama::read_ministral,
        "ministral3" | "mistral" => llama::read_mistral,
        "mistral_large4_text" => mistral_large::read,
        "mixtral" => mixtral::read,
        "mllama" | "mllama_text_model" => mllama::read,
        "modernbert" | "modernbert-decoder" => bert::read_modernbert,
        "mpnet" => bert::read_mpnet,
        "mpt" => bloom::read_mpt,
        "mt5" | "t5" | "umt5" => t5::read,
        "nanochat" => llama::read_nanochat,
        "nemotron_h" => nemotron_h::read,
        "nomic_bert" => bert::read_nomic,
        "olmo" => llama::read_olmo,
        "olmo2" | "olmo3" => llama::read_olmo2,
        "olmo_hybrid" => olmo_hybrid::read,
        "openai-gpt" => gpt::read_openai_gpt,
        "opt" => bloom::read_opt,
        "orion" => remote::read_orion,
        "paddleocr_vl" => vision_language::read_paddle,
        "paligemma" => gemma::read_paligemma,
        "blenderbot" | "pegasus" => bart::read_pegasus,
        "persimmon" => phi::read_persimmon,
        "phi" => phi::read,
        "phi3" => phi::read_phi3,
        "phi4_multimodal" => phi::read_phi4_multimodal,
        "phimoe" => mixtral::read_phimoe,
        "qwen" => qwen::read_qwen,
        "qwen2" | "qwen2_5_vl_text" | "qwen2_vl_text" => qwen::read_qwen2,
        "qwen2_5_omni" | "qwen2_5_omni_thinker" => omni::read_qwen2_5,
        "qwen2_5_vl" => qwen::read_qwen2_5_vl,
        "qwen2_audio" => llava::read_qwen2_audio,
        "qwen2_moe" => glm_moe::read_qwen2,
        "qwen2_vl" => qwen::read_qwen2_vl,
        "qwen3" | "qwen3_vl_text" => qwen::read_qwen3,
        "qwen3_5" => qwen_next::read,
        "qwen3_5_moe" => qwen_next::read_moe,
        "qwen3_5_moe_text" => qwen_next::read_moe_text,
        "qwen3_5_text" => qwen_next::read_text,
        "qwen3_asr" => vision_language::read_qwen3_asr,
        "qwen3_moe" | "qwen3_vl_moe_text" => qwen::read_qwen3_moe,
        "qwen3_next" => qwen_next::read_next,
        "qwen3_omni_moe" | "qwen3_omni_moe_thinker" => omni::read_qwen3,
        "qwen3_vl" => qwen::read_qwen3_vl,
        "qwen3_vl_moe" => qwen::read_qwen3_vl_moe,
        "recurrent_gemma" => recurrent::read_recurrent_gemma,
        "roberta-prelayernorm" => bert::read_roberta_prelayernorm,
        "rwkv" => recurrent::read_rwkv,
        "seed_oss" => llama::read_seed_oss,
        "smallthinker" => glm_moe::read_smallthinker,
        "smollm3" => llama::read_smollm3,
        "solar_open" => glm_moe::read_solar_open,
        "stablelm" => phi::read_stablelm,
        "starcoder2" => gpt::read_starcoder2,
        "step3p5" => step::read_text,
        "step3p7" => step::read,
        "t5gemma" => t5gemma::read,
        "t5gemma2" => t5gemma::read_second,
        "vaultgemma" => gemma::read_vaultgemma,
        "video_llama_3" => vision_language::read_video_llama,
        "video_llava" => llava::read_video,
        "vipllava" => llava::read_vip,
        "voxtral" => llava::read_voxtral,
        "voxtral_realtime" => vision_language::read_voxtral_realtime,
        "whisper" => bart::read_whisper,
        "xlstm" => xlstm::read,
        "xverse_moe" => glm_moe::read_xverse,
        "zamba" => zamba::read,
        "zamba2" => zamba::read_zamba2,
        _ => return None,
    })
}

/// Reads an unknown model as the nearest shape that its keys describe.
pub(crate) fn unknown(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    unknown::read(source)
}

/// The language model of a configuration that nests one, read by its own model type.
fn language_model(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let inner = source.text.model_type()?.unwrap_or("llama");
    if source.is_nested {
        return Err(source.text.contradiction("model_type", format!("`{inner}` nests yet another language model")));
    }
    source.is_nested = true;
    let read = reader(inner).unwrap_or(unknown::read);
    if reader(inner).is_none() {
        let place = source.text.place("model_type");
        source.diagnostics.push(Diagnostic::new(
            place,
            format!("`{inner}` is not known; it is read as the nearest shape that its keys describe"),
        ));
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
