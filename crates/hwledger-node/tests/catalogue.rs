//! The catalogue's hyper-parameters against what their publishers count.

use hwledger_core::model::Certainty;
use hwledger_formats::huggingface::read_config;
use hwledger_node::catalogue;

/// Parameters as the public repositories' own tensor metadata counts them.
const PUBLISHED: &[(&str, u64)] = &[
    ("01-ai/Yi-1.5-34B-Chat", 34_388_917_248),
    ("01-ai/Yi-1.5-9B-Chat", 8_829_407_232),
    ("01-ai/Yi-6B", 6_061_035_520),
    ("BAAI/bge-base-en-v1.5", 109_482_240),
    ("CohereForAI/c4ai-command-r-plus", 103_810_674_688),
    ("CohereForAI/c4ai-command-r7b-12-2024", 8_028_033_024),
    ("EleutherAI/pythia-1.4b", 1_414_647_808),
    ("EleutherAI/pythia-12b", 11_846_072_320),
    ("EleutherAI/pythia-2.8b", 2_775_208_960),
    ("EleutherAI/pythia-410m", 405_334_016),
    ("EleutherAI/pythia-6.9b", 6_857_302_016),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    ("HuggingFaceTB/SmolLM3-3B", 3_075_098_624),
    ("Qwen/Qwen2-0.5B-Instruct", 494_032_768),
    ("Qwen/Qwen2-72B-Instruct", 72_706_203_648),
    ("Qwen/Qwen2-7B-Instruct", 7_615_616_512),
    ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
    ("Qwen/Qwen2.5-32B-Instruct", 32_763_876_352),
    ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
    ("Qwen/Qwen2.5-VL-32B-Instruct", 33_452_718_336),
    ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
    ("Qwen/Qwen2.5-VL-72B-Instruct", 73_410_777_344),
    ("Qwen/Qwen3-14B", 14_768_307_200),
    ("Qwen/Qwen3-235B-A22B-Instruct-2507", 235_093_634_560),
    ("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 30_532_122_624),
    ("Qwen/Qwen3-Coder-480B-A35B-Instruct", 480_154_875_392),
    ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384),
    ("ai21labs/AI21-Jamba-1.5-Mini", 51_570_323_328),
    ("allenai/OLMo-2-0325-32B-Instruct", 32_234_279_936),
    ("allenai/OLMo-2-1124-13B-Instruct", 13_716_198_400),
    ("allenai/OLMo-2-1124-7B-Instruct", 7_298_617_344),
    ("bigcode/starcoder2-3b", 3_030_371_328),
    ("bigcode/starcoder2-7b", 7_173_923_840),
    ("bigscience/bloom-560m", 559_214_592),
    ("bigscience/bloom-7b1", 7_069_016_064),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", 14_770_033_664),
    ("deepseek-ai/DeepSeek-V2", 235_741_434_880),
    ("deepseek-ai/deepseek-coder-33b-instruct", 33_342_991_360),
    ("deepseek-ai/deepseek-coder-6.7b-instruct", 6_740_512_768),
    ("facebook/opt-1.3b", 1_315_758_080),
    ("facebook/opt-13b", 12_853_473_280),
    ("facebook/opt-30b", 29_974_540_288),
    ("google/flan-t5-large", 783_150_080),
    ("google/flan-t5-small", 76_961_152),
    ("google/flan-t5-xl", 2_849_757_184),
    ("google/flan-t5-xxl", 11_135_332_352),
    ("google/gemma-2-9b-it", 9_241_705_984),
    ("google/gemma-3-270m-it", 268_098_176),
    ("google/gemma-7b-it", 8_537_680_896),
    ("internlm/internlm2_5-20b-chat", 19_861_149_696),
    ("meta-llama/Llama-3.1-405B", 405_853_388_800),
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", 10_670_220_835),
    ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 401_583_781_376),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 108_641_793_536),
    ("meta-llama/Meta-Llama-3-70B", 70_553_706_496),
    ("microsoft/Phi-3-medium-4k-instruct", 13_960_238_080),
    ("microsoft/Phi-3.5-MoE-instruct", 41_873_153_344),
    ("microsoft/Phi-3.5-mini-instruct", 3_821_079_552),
    ("mistralai/Codestral-22B-v0.1", 22_247_282_688),
    ("mistralai/Devstral-Small-2505", 23_572_403_200),
    ("mistralai/Ministral-8B-Instruct-2410", 8_019_808_256),
    ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),
    ("mistralai/Mistral-Large-Instruct-2407", 122_610_069_504),
    ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 24_011_361_280),
    ("mistralai/Mixtral-8x22B-Instruct-v0.1", 140_630_071_296),
    ("mistralai/Mixtral-8x7B-v0.1", 46_702_792_704),
    ("openai-community/gpt2", 124_439_808),
    ("openai-community/gpt2-large", 774_030_080),
    ("openai-community/gpt2-medium", 354_823_168),
    ("openai/whisper-base", 72_593_920),
    ("openai/whisper-large-v2", 1_543_304_960),
    ("openai/whisper-large-v3-turbo", 808_878_080),
    ("openai/whisper-medium", 763_857_920),
    ("openai/whisper-tiny", 37_760_640),
    ("state-spaces/mamba-1.4b-hf", 1_372_178_432),
    ("state-spaces/mamba-2.8b-hf", 2_768_345_600),
    ("state-spaces/mamba-370m-hf", 371_516_416),
    ("state-spaces/mamba-790m-hf", 793_204_224),
    ("tiiuae/Falcon3-10B-Instruct", 10_305_653_760),
    ("tiiuae/Falcon3-1B-Instruct", 1_669_408_768),
    ("tiiuae/Falcon3-3B-Instruct", 3_227_655_168),
    ("tiiuae/Falcon3-7B-Instruct", 7_455_550_464),
];

#[test]
fn published_counts_come_out_exactly() {
    for (id, expected) in PUBLISHED {
        let entry = catalogue::find(id).unwrap_or_else(|| panic!("{id} is not in the catalogue"));
        assert_eq!(entry.id, *id);
        let (model, _) = read_config(entry.config()).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(model.parameters().total, *expected, "{id}");
    }
}

#[test]
fn every_entry_can_be_described() {
    for entry in catalogue::entries() {
        let (model, _) = read_config(entry.config()).unwrap_or_else(|error| panic!("{}: {error}", entry.id));
        assert!(model.parameters().total > 1_000_000, "{}", entry.id);
        assert_eq!(model.certainty, Certainty::Known, "{}", entry.id);
    }
}
