//! One file per family of architectures; this table says which reads what.

mod bloom;
mod cohere;
mod gemma;
mod glm;
mod gpt;
mod llama;
mod phi;
mod qwen;
mod remote;

use hwledger_core::ModelSpec;

use super::builder::Source;
use super::config::ConfigError;

/// Reads the model that a source describes.
pub(crate) type Reader = fn(&mut Source<'_>) -> Result<ModelSpec, ConfigError>;

/// The reader of `model_type`.
pub(crate) fn reader(model_type: &str) -> Option<Reader> {
    Some(match model_type {
        "apertus" => llama::read_apertus,
        "aquila" | "granite" | "helium" | "internlm3" | "iquestcoder" | "llama" | "minicpm" | "xverse" | "yi" => {
            llama::read
        }
        "arcee" => llama::read_arcee,
        "baichuan" => remote::read_baichuan,
        "bitnet" => llama::read_bitnet,
        "bloom" => bloom::read_bloom,
        "chatglm" => glm::read_chatglm,
        "codegen" | "gptj" => gpt::read_gptj,
        "cohere" => cohere::read,
        "cohere2" => cohere::read_cohere2,
        "cwm" => llama::read_cwm,
        "deci" | "decilm" | "nemotron-nas" => remote::read_decilm,
        "diffllama" => llama::read_diffllama,
        "ernie4_5" => llama::read_ernie,
        "exaone" => llama::read_exaone3,
        "exaone4" => llama::read_exaone4,
        "falcon" | "RefinedWeb" | "RefinedWebModel" => bloom::read_falcon,
        "gemma" => gemma::read,
        "gemma2" => gemma::read_gemma2,
        "gemma3" => gemma::read_gemma3,
        "gemma3_text" => gemma::read_gemma3_text,
        "glm" => glm::read_glm,
        "glm4" => glm::read_glm4,
        "gpt2" | "gpt-sw3" => gpt::read_gpt2,
        "gpt_bigcode" => gpt::read_bigcode,
        "gpt_neo" => gpt::read_gpt_neo,
        "gpt_neox" => gpt::read_neox,
        "granite_swa" => llama::read_granite_swa,
        "hunyuan_v1_dense" => llama::read_hunyuan,
        "hyperclovax" => llama::read_hyperclovax,
        "internlm" | "internlm2" => remote::read_internlm,
        "jais2" | "nemotron" => llama::read_nemotron,
        "mimo" => llama::read_mimo,
        "ministral" => llama::read_ministral,
        "ministral3" | "mistral" => llama::read_mistral,
        "mpt" => bloom::read_mpt,
        "nanochat" => llama::read_nanochat,
        "olmo" => llama::read_olmo,
        "olmo2" | "olmo3" => llama::read_olmo2,
        "openai-gpt" => gpt::read_openai_gpt,
        "opt" => bloom::read_opt,
        "orion" => remote::read_orion,
        "paligemma" => gemma::read_paligemma,
        "persimmon" => phi::read_persimmon,
        "phi" => phi::read,
        "phi3" => phi::read_phi3,
        "qwen" => qwen::read_qwen,
        "qwen2" => qwen::read_qwen2,
        "qwen2_5_vl" => qwen::read_qwen2_5_vl,
        "qwen2_vl" => qwen::read_qwen2_vl,
        "qwen3" => qwen::read_qwen3,
        "qwen3_moe" => qwen::read_qwen3_moe,
        "qwen3_vl" => qwen::read_qwen3_vl,
        "qwen3_vl_moe" => qwen::read_qwen3_vl_moe,
        "seed_oss" => llama::read_seed_oss,
        "smollm3" => llama::read_smollm3,
        "stablelm" => phi::read_stablelm,
        "starcoder2" => gpt::read_starcoder2,
        "vaultgemma" => gemma::read_vaultgemma,
        _ => return None,
    })
}

/// Reads an unknown model as a plain decoder.
pub(crate) fn unknown(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    llama::read(source)
}
