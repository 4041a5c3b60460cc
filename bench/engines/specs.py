"""table: the models whose headers are written: architecture, public shape, weight types.

Shapes are those of the public model named, sometimes with fewer layers or experts (said in
the name: `-l8` eight layers). `keep` lists the tensors that the engine treats as optional and
that this model has; `drop` those that the engine would also accept and that it has not.
"""

SPECS = {}
BIAS = r"attn_(q|k|v)\.bias"
ALL_BIAS = r".*\.bias"


def add(name, arch, ftype, hp, keep=(), drop=(), tied=False, ask=None, extra=()):
    """`ask`: keys to change while asking the engine for its tensors; `extra`: tensors to add."""
    keep = list(keep)
    if not tied:
        keep.append(r"output\.weight")
    SPECS[name] = {"arch": arch, "ftype": ftype, "hp": hp, "keep": keep, "drop": list(drop),
                   "ask": ask or {}, "extra": dict(extra)}


def base(layers, width, heads, kv, ff, vocab, context=32768, head=None, v_head=None, eps="rms", **more):
    """Keys that nearly every architecture has; `head` when it is not width / heads."""
    hp = {
        "block_count": layers, "embedding_length": width, "attention.head_count": heads,
        "attention.head_count_kv": kv, "feed_forward_length": ff, "vocab_size": vocab,
        "context_length": context,
    }
    if eps in ("rms", "both"):
        hp["attention.layer_norm_rms_epsilon"] = 1e-5
    if eps in ("norm", "both"):
        hp["attention.layer_norm_epsilon"] = 1e-5
    if head:
        hp["attention.key_length"] = head
        hp["attention.value_length"] = v_head or head
    hp.update({k.replace("__", "."): v for k, v in more.items()})
    return hp


def moe(experts, used, ff, shared=None, shared_ff=None, dense_lead=None, gating=None):
    hp = {"expert_count": experts, "expert_used_count": used, "expert_feed_forward_length": ff}
    if shared is not None:
        hp["expert_shared_count"] = shared
    if shared_ff is not None:
        hp["expert_shared_feed_forward_length"] = shared_ff
    if dense_lead is not None:
        hp["leading_dense_block_count"] = dense_lead
    if gating is not None:
        hp["expert_gating_func"] = gating
    return hp


def ssm(inner, state, rank, conv=4, groups=None):
    hp = {"ssm.conv_kernel": conv, "ssm.inner_size": inner, "ssm.state_size": state,
          "ssm.time_step_rank": rank}
    if groups is not None:
        hp["ssm.group_count"] = groups
    return hp


def mla(q_lora, kv_lora=512, rope=64, nope=128, v=128):
    hp = {"attention.kv_lora_rank": kv_lora, "rope.dimension_count": rope,
          "attention.key_length": kv_lora + rope, "attention.value_length": kv_lora,
          "attention.key_length_mla": nope + rope, "attention.value_length_mla": v}
    if q_lora:
        hp["attention.q_lora_rank"] = q_lora
    return hp


# --- plain attention ---------------------------------------------------------------------
LLAMA31 = base(32, 4096, 32, 8, 14336, 128256, 131072, rope__dimension_count=128)
add("llama-3.1-8b-f16", "llama", "F16", LLAMA31, keep=["rope_freqs.weight"])
add("llama-3.1-8b-q4_k_m", "llama", "Q4_K_M", LLAMA31, keep=["rope_freqs.weight"])
add("llama-3.1-8b-q8_0", "llama", "Q8_0", LLAMA31, keep=["rope_freqs.weight"])
add("llama-3.2-1b-q4_0", "llama", "Q4_0",
    base(16, 2048, 32, 8, 8192, 128256, 131072, rope__dimension_count=64), keep=["rope_freqs.weight"], tied=True)
add("llama-2-7b-q5_k_m", "llama", "Q5_K_M", base(32, 4096, 32, 32, 11008, 32000, 4096, rope__dimension_count=128))
add("llama-3.1-70b-l20-q4_k_m", "llama", "Q4_K_M",
    base(20, 8192, 64, 8, 28672, 128256, 131072, rope__dimension_count=128), keep=["rope_freqs.weight"])
add("tinyllama-1.1b-q2_k", "llama", "Q2_K", base(22, 2048, 32, 4, 5632, 32000, 2048, rope__dimension_count=64))
# small ones, loaded whole for `repack.py`: a tied table in a type that is repacked, and stacked experts
add("llama-l4-iq4_nl", "llama", "IQ4_NL", base(4, 2048, 32, 8, 8192, 32000, 8192, rope__dimension_count=64), tied=True)
add("qwen3moe-l4-q4_0", "qwen3moe", "Q4_0", base(4, 2048, 32, 4, 6144, 32000, head=128) | moe(32, 8, 768))
add("gpt-oss-l2-mxfp4", "gpt-oss", "MXFP4",
    base(2, 2880, 64, 8, 2880, 32000, 131072, head=64, attention__sliding_window=128) | moe(32, 4, 2880),
    keep=[ALL_BIAS, ".*sinks.*"])
add("mistral-nemo-12b-l10-iq4_xs", "llama", "IQ4_XS",
    base(10, 5120, 32, 8, 14336, 131072, 131072, head=128, rope__dimension_count=128))
add("mixtral-8x7b-l8-q4_k_m", "llama", "Q4_K_M",
    base(8, 4096, 32, 8, 14336, 32000, 32768, rope__dimension_count=128) | {"expert_count": 8, "expert_used_count": 2})
add("deci-mix-l8-bf16", "deci", "BF16",
    base(8, 8192, [64, 0, 64, 64, 0, 64, 64, 64], [8, 0, 8, 4, 0, 8, 16, 8],
         [28672, 14336, 28672, 0, 7168, 28672, 28672, 28672], 128256, 131072, rope__dimension_count=128))
add("openelm-1.1b-f16", "openelm", "F16",
    base(28, 2048, [16] * 9 + [20] * 10 + [24] * 5 + [28] * 3 + [32], [4] * 9 + [5] * 10 + [6] * 5 + [7] * 3 + [8],
         [1024 + 256 * i for i in range(28)], 32000, 2048, head=64, rope__dimension_count=64), tied=True)
add("qwen2.5-7b-q4_k_m", "qwen2", "Q4_K_M", base(28, 3584, 28, 4, 18944, 152064, 32768), keep=[BIAS])
add("qwen2.5-0.5b-q8_0", "qwen2", "Q8_0", base(24, 896, 14, 2, 4864, 151936, 32768), keep=[BIAS], tied=True)
add("qwen3-0.6b-bf16", "qwen3", "BF16", base(28, 1024, 16, 8, 3072, 151936, 40960, head=128), tied=True)
add("qwen3-8b-q4_k_m", "qwen3", "Q4_K_M", base(36, 4096, 32, 8, 12288, 151936, 40960, head=128))
add("qwen2-vl-7b-l8-q8_0", "qwen2vl", "Q8_0",
    base(8, 3584, 28, 4, 18944, 152064, 32768, rope__dimension_sections=[16, 24, 24, 0]), keep=[BIAS])
add("qwen3-vl-4b-l8-bf16", "qwen3vl", "BF16",
    base(8, 2560, 32, 8, 9728, 151936, 262144, head=128, rope__dimension_sections=[24, 20, 20, 0],
         n_deepstack_layers=3), tied=True)
add("gemma-7b-l8-f16", "gemma", "F16", base(8, 3072, 16, 16, 24576, 256000, 8192, head=256), tied=True)
add("phi-2-f16", "phi2", "F16", base(32, 2560, 32, 32, 10240, 51200, 2048, eps="norm", rope__dimension_count=32),
    keep=[ALL_BIAS])
add("phi-3-mini-4k-q4_k_m", "phi3", "Q4_K_M",
    base(32, 3072, 32, 32, 8192, 32064, 4096, rope__dimension_count=96, attention__sliding_window=2047))
add("phi-4-l10-q8_0", "phi3", "Q8_0", base(10, 5120, 40, 10, 17920, 100352, 16384, rope__dimension_count=128))
add("gpt2-124m-f16", "gpt2", "F16", base(12, 768, 12, 12, 3072, 50257, 1024, eps="norm"), keep=[ALL_BIAS], tied=True)
add("pythia-1.4b-f16", "gptneox", "F16",
    base(24, 2048, 16, 16, 8192, 50304, 2048, eps="norm", rope__dimension_count=32, use_parallel_residual=True),
    keep=[ALL_BIAS])
add("falcon-7b-q4_0", "falcon", "Q4_0", base(32, 4544, 71, 1, 18176, 65024, 2048, eps="norm"), drop=["attn_norm_2.*"])
add("falcon-40b-l8-q4_k_m", "falcon", "Q4_K_M", base(8, 8192, 128, 8, 32768, 65024, 2048, eps="norm"),
    keep=["blk.*attn_norm_2.*"])
add("mpt-7b-f16", "mpt", "F16", base(32, 4096, 32, 32, 16384, 50432, 2048, eps="norm",
                                     attention__max_alibi_bias=8.0, attention__clamp_kqv=0.0),
    drop=["position_embd.*", ".*act.*", ".*_norm_2.*", "attn_(q|k)_norm.*"], tied=True)
add("bloom-1b7-f16", "bloom", "F16", base(24, 2048, 16, 16, 8192, 250880, 2048, eps="norm"), keep=[ALL_BIAS], tied=True)
add("starcoder-1b-f16", "starcoder", "F16", base(24, 2048, 16, 1, 8192, 49152, 8192, eps="norm"), keep=[ALL_BIAS], tied=True)
add("starcoder2-3b-q8_0", "starcoder2", "Q8_0",
    base(30, 3072, 24, 2, 12288, 49152, 16384, eps="norm"), keep=[ALL_BIAS], tied=True)
add("stablelm-2-1.6b-f16", "stablelm", "F16",
    base(24, 2048, 32, 32, 5632, 100352, 4096, eps="norm", rope__dimension_count=16, use_parallel_residual=False),
    keep=[BIAS, "blk.*ffn_norm.*"], drop=["attn_(q|k)_norm.*"])
add("command-r-35b-l8-q4_k_m", "command-r", "Q4_K_M",
    base(8, 8192, 64, 64, 22528, 256000, 131072, eps="norm", logit_scale=0.0625), drop=["attn_(q|k)_norm.*"], tied=True)
add("olmo2-7b-l12-bf16", "olmo2", "BF16", base(12, 4096, 32, 32, 11008, 100352, 4096))
add("olmo-1b-f16", "olmo", "F16", base(16, 2048, 16, 16, 8192, 50304, 2048, eps="norm"), tied=True)
add("glm4-9b-l10-q4_k_m", "glm4", "Q4_K_M",
    base(10, 4096, 32, 2, 13696, 151552, 32768, head=128, rope__dimension_count=64), keep=[BIAS])
add("chatglm3-6b-l8-f16", "chatglm", "F16",
    base(8, 4096, 32, 2, 13696, 65024, 32768, head=128, rope__dimension_count=64), keep=["attn_qkv.*"])
add("seed-oss-36b-l8-q4_k_m", "seed_oss", "Q4_K_M", base(8, 5120, 80, 8, 27648, 155136, 524288, head=128), keep=[BIAS])
add("apertus-8b-l8-bf16", "apertus", "BF16",
    base(8, 4096, 32, 8, 21504, 131072, 65536) | {
        "=xielu.alpha_n": [0.5] * 8, "=xielu.alpha_p": [0.8] * 8, "=xielu.beta": [0.5] * 8, "=xielu.eps": [1e-6] * 8},
    keep=["rope_freqs.weight"])
add("smollm3-3b-q8_0", "smollm3", "Q8_0", base(36, 2048, 16, 4, 11008, 128256, 65536), tied=True)
add("exaone-3.5-2.4b-f16", "exaone", "F16", base(30, 2560, 32, 8, 7168, 102400, 32768, head=80), keep=["rope_freqs.weight"], tied=True)
add("internlm2-7b-l8-f16", "internlm2", "F16", base(8, 4096, 32, 8, 14336, 92544, 32768))
add("baichuan-13b-l8-f16", "baichuan", "F16", base(8, 5120, 40, 40, 13696, 64000, 4096))
add("nemotron-mini-4b-f16", "nemotron", "F16",
    base(32, 3072, 24, 8, 9216, 256000, 4096, eps="norm", head=128, rope__dimension_count=64))
add("granite-3.1-2b-q4_k_m", "granite", "Q4_K_M",
    base(40, 2048, 32, 8, 8192, 49155, 131072, logit_scale=8.0, residual_scale=0.22, embedding_scale=12.0,
         attention__scale=0.015625), tied=True)
add("hunyuan-dense-7b-l8-bf16", "hunyuan-dense", "BF16", base(8, 4096, 32, 8, 14336, 128167, 32768, head=128), tied=True)
add("ernie-4.5-0.3b-bf16", "ernie4_5", "BF16", base(18, 1024, 16, 2, 3072, 103424, 131072, head=128), tied=True)
add("minicpm-2b-q8_0", "minicpm", "Q8_0", base(40, 2304, 36, 36, 5760, 122753, 4096), tied=True)
add("mistral3-ministral-8b-l8-q8_0", "mistral3", "Q8_0",
    base(8, 4096, 32, 8, 14336, 131072, 262144, head=128, rope__dimension_count=128))
add("arcee-4.5b-l8-f16", "arcee", "F16", base(8, 2560, 20, 4, 18432, 128004, 65536, head=128))
add("orion-14b-l6-f16", "orion", "F16", base(6, 5120, 40, 40, 15360, 84608, 4096, eps="norm"))
add("refact-1.6b-f16", "refact", "F16", base(32, 2048, 32, 1, 5632, 49216, 4096), tied=True)
add("bitnet-2b-f16", "bitnet", "F16", base(30, 2560, 20, 5, 6912, 128256, 4096), tied=True)
add("codeshell-7b-l8-f16", "codeshell", "F16", base(8, 4096, 32, 8, 16384, 70144, 8192, eps="norm"), keep=[ALL_BIAS])
add("jais-1.3b-l8-f16", "jais", "F16",
    base(8, 2048, 16, 16, 5440, 84992, 2048, eps="norm", attention__max_alibi_bias=8.0), keep=[ALL_BIAS])
add("xverse-7b-l8-f16", "xverse", "F16", base(8, 4096, 32, 32, 11008, 100278, 8192))
# --- sliding windows -----------------------------------------------------------------------
add("gemma-2-9b-q4_k_m", "gemma2", "Q4_K_M",
    base(42, 3584, 16, 8, 14336, 256000, 8192, head=256, attention__sliding_window=4096,
         attn_logit_softcapping=50.0, final_logit_softcapping=30.0), tied=True)
add("gemma-3-27b-q4_0", "gemma3", "Q4_0",
    base(62, 5376, 32, 16, 21504, 262208, 131072, head=128, attention__sliding_window=1024), tied=True)
add("gemma-3-1b-bf16", "gemma3", "BF16",
    base(26, 1152, 4, 1, 6912, 262144, 32768, head=256, attention__sliding_window=512), tied=True)
add("gemma-3n-e2b-q8_0", "gemma3n", "Q8_0",
    base(30, 2048, 8, 2, 8192, 262144, 32768, head=256, attention__sliding_window=512), tied=True)
add("gemma-4-26b-a4b-l12-q4_k_m", "gemma4", "Q4_K_M",
    base(12, 2816, 16, [8, 8, 8, 8, 8, 2] * 2, 2112, 262144, 262144, head=512,
         attention__key_length_swa=256, attention__value_length_swa=256, attention__sliding_window=1024,
         attention__sliding_window_pattern=[True] * 5 + [False] + [True] * 5 + [False],
         rope__dimension_count=512, rope__dimension_count_swa=256,
         embedding_length_per_layer_input=0, final_logit_softcapping=30.0) | moe(128, 8, 704), tied=True,
    drop=["blk.(5|11).attn_v.*"])
add("gemma-4-e2b-q8_0", "gemma4", "Q8_0",
    base(35, 1536, 8, 1, [6144] * 15 + [12288] * 20, 262144, 131072, head=512,
         attention__key_length_swa=256, attention__value_length_swa=256, attention__sliding_window=512,
         attention__sliding_window_pattern=([True] * 4 + [False]) * 7, attention__shared_kv_layers=20,
         rope__dimension_count=512, rope__dimension_count_swa=256,
         embedding_length_per_layer_input=256, final_logit_softcapping=30.0), tied=True,
    drop=[r"blk\.(1[5-9]|2\d|3\d)\.attn_(k|v|k_norm)\..*"])
add("cohere2-7b-l12-q8_0", "cohere2", "Q8_0",
    base(12, 4096, 32, 8, 14336, 256000, 8192, eps="norm", logit_scale=0.25, attention__sliding_window=4096,
         rope__dimension_count=128), tied=True)
add("olmo3-7b-l12-bf16", "olmo2", "BF16", base(12, 4096, 32, 32, 11008, 100278, 65536, attention__sliding_window=4096))
add("exaone-4-32b-l64-q4_k_m", "exaone4", "Q4_K_M",
    base(64, 5120, 40, 8, 27392, 102400, 131072, attention__sliding_window=4096), keep=["rope_freqs.weight"])
add("exaone-4-1.2b-bf16", "exaone4", "BF16", base(30, 2048, 32, 8, 4096, 102400, 65536, head=64), keep=["rope_freqs.weight"], tied=True)
add("gpt-oss-20b-mxfp4", "gpt-oss", "MXFP4",
    base(24, 2880, 64, 8, 2880, 201088, 131072, head=64, attention__sliding_window=128) | moe(32, 4, 2880),
    keep=[ALL_BIAS, ".*sinks.*"])
add("llama-4-scout-l8-q4_k_m", "llama4", "Q4_K_M",
    base(8, 5120, 40, 8, 16384, 202048, 10485760, head=128, rope__dimension_count=128, interleave_moe_layer_step=1,
         attention__chunk_size=8192) | moe(16, 1, 8192), keep=["rope_freqs.weight"])
add("smallthinker-4b-l16-q8_0", "smallthinker", "Q8_0",
    base(16, 1536, 12, 2, 768, 151936, 32768, head=128) | moe(32, 4, 768, gating=2), tied=True)
add("smallthinker-21b-l16-q4_k_m", "smallthinker", "Q4_K_M",
    base(16, 2560, 28, 4, 768, 151936, 16384, head=128, attention__sliding_window=4096) | moe(64, 6, 768, gating=2), tied=True)
add("plamo3-8b-l12-bf16", "plamo3", "BF16",
    base(12, 4096, 32, 4, 16384, 107520, 32768, head=128, attention__sliding_window=2048), tied=True)
add("mimo2-flash-l12-q4_k_m", "mimo2", "Q4_K_M",
    base(12, 4096, 64, [4, 8, 8, 8, 8, 4] + [8, 8, 8, 8, 8, 4], 16384, 152576, 262144, head=192, v_head=128,
         rope__dimension_count=64, attention__sliding_window=128, rope__freq_base_swa=10000.0,
         attention__sliding_window_pattern=[0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0]) | moe(64, 8, 2048, gating=2),
    keep=[".*sinks.*", ".*exp_probs_b.*"],
    drop=[r"blk\.0\.(ffn_(.*exps|gate_inp)|exp_probs_b).*", r"blk\.([1-9]|1[01])\.ffn_(gate|up|down)\.weight"])
add("afmoe-trinity-mini-l12-q8_0", "afmoe", "Q8_0",
    base(12, 2048, 32, 4, 6144, 200192, 131072, head=128, attention__sliding_window=2048)
    | moe(128, 8, 1024, shared=1, dense_lead=2, gating=2), keep=[".*exp_probs_b.*"])
add("cohere2-moe-l8-q8_0", "cohere2moe", "Q8_0",
    base(8, 4096, 32, 8, 14336, 256000, 131072, eps="norm", head=128, logit_scale=0.25, attention__sliding_window=4096,
         rope__dimension_count=128) | moe(32, 4, 2048, shared=1, shared_ff=4096, dense_lead=1), tied=True)
add("exaone-moe-l8-q4_k_m", "exaone-moe", "Q4_K_M",
    base(8, 6144, 64, 8, 18432, 153600, 262144, head=128, attention__sliding_window=128)
    | moe(64, 8, 2048, shared=1, shared_ff=2048, dense_lead=1, gating=2), keep=[".*exp_probs_b.*", "rope_freqs.weight"])

# --- mixtures of experts ---------------------------------------------------------------------
add("qwen3-30b-a3b-l12-q4_k_m", "qwen3moe", "Q4_K_M",
    base(12, 2048, 32, 4, 6144, 151936, 40960, head=128) | moe(128, 8, 768))
add("qwen1.5-moe-a2.7b-l12-q8_0", "qwen2moe", "Q8_0",
    base(12, 2048, 16, 16, 5632, 151936, 8192) | moe(60, 4, 1408, shared_ff=5632), keep=[BIAS])
add("qwen3-vl-30b-l8-q4_k_m", "qwen3vlmoe", "Q4_K_M",
    base(8, 2048, 32, 4, 6144, 151936, 262144, head=128, rope__dimension_sections=[24, 20, 20, 0], n_deepstack_layers=3)
    | moe(128, 8, 768))
add("olmoe-7b-q4_k_m", "olmoe", "Q4_K_M", base(16, 2048, 16, 16, 1024, 50304, 4096) | moe(64, 8, 1024))
add("phi-3.5-moe-l8-q4_k_m", "phimoe", "Q4_K_M",
    base(8, 4096, 32, 8, 6400, 32064, 131072, rope__dimension_count=128) | {"expert_count": 16, "expert_used_count": 2},
    keep=[ALL_BIAS])
add("glm-4.5-air-l10-q4_k_m", "glm4moe", "Q4_K_M",
    base(10, 4096, 96, 8, 10944, 151552, 131072, head=128, rope__dimension_count=64)
    | moe(128, 8, 1408, shared=1, dense_lead=1, gating=2), keep=[BIAS, ".*exp_probs_b.*"], drop=["attn_(q|k)_norm.*"])
add("glm-4.5-nextn-l8-q8_0", "glm4moe", "Q8_0",
    base(9, 5120, 96, 8, 12288, 151552, 131072, head=128, rope__dimension_count=64, nextn_predict_layers=1)
    | moe(32, 8, 1536, shared=1, dense_lead=3, gating=2), keep=[BIAS, ".*exp_probs_b.*"], ask={"nextn_predict_layers": 0},
    extra=[("blk.8.nextn.eh_proj.weight", [10240, 5120]), ("blk.8.nextn.enorm.weight", [5120]),
           ("blk.8.nextn.hnorm.weight", [5120]), ("blk.8.nextn.embed_tokens.weight", [5120, 151552]),
           ("blk.8.nextn.shared_head_head.weight", [5120, 151552]), ("blk.8.nextn.shared_head_norm.weight", [5120])])
add("dots1-l8-q4_k_m", "dots1", "Q4_K_M",
    base(8, 4096, 32, 32, 10944, 152064, 32768, head=128) | moe(128, 6, 1408, shared=2, dense_lead=1, gating=2),
    keep=[".*exp_probs_b.*"])
add("ling-mini-bailingmoe2-l10-q8_0", "bailingmoe2", "Q8_0",
    base(10, 2048, 16, 4, 5120, 157184, 32768, head=128, rope__dimension_count=64)
    | moe(256, 8, 512, shared=1, shared_ff=512, dense_lead=1, gating=2) | {"expert_group_count": 8, "expert_group_used_count": 4},
    keep=[".*exp_probs_b.*"])
add("bailingmoe-lite-l8-f16", "bailingmoe", "F16",
    base(8, 2048, 16, 4, 5632, 126464, 32768, head=128, rope__dimension_count=128) | moe(64, 6, 1408, shared=2, dense_lead=0))
add("ernie-4.5-21b-a3b-l8-q4_k_m", "ernie4_5-moe", "Q4_K_M",
    base(8, 2560, 20, 4, 12288, 103424, 131072, head=128, interleave_moe_layer_step=1)
    | moe(64, 6, 1536, shared_ff=3072, dense_lead=1), keep=[".*exp_probs_b.*"], tied=True)
add("hunyuan-a13b-l8-q4_k_m", "hunyuan-moe", "Q4_K_M",
    base(8, 4096, 32, 8, 3072, 128167, 262144, head=128) | moe(64, 8, 3072, shared_ff=3072), tied=True)
add("grok-1-l4-q4_k_m", "grok", "Q4_K_M", base(4, 6144, 48, 8, 32768, 131072, 8192) | moe(8, 2, 32768), tied=True,
    drop=[".*ffn_(up|gate|down)\\.weight"])
add("dbrx-l4-q4_k_m", "dbrx", "Q4_K_M",
    base(4, 6144, 48, 8, 10752, 100352, 32768, eps="norm", attention__clamp_kqv=8.0) | {"expert_count": 16, "expert_used_count": 4})
add("arctic-l4-q4_k_m", "arctic", "Q4_K_M",
    base(4, 7168, 56, 8, 4864, 32000, 4096, rope__dimension_count=128) | {"expert_count": 128, "expert_used_count": 2})
add("minimax-m2-l8-q4_k_m", "minimax-m2", "Q4_K_M",
    base(8, 3072, 48, 8, 1536, 200064, 196608, head=128, rope__dimension_count=64) | moe(256, 8, 1536, gating=2),
    keep=[".*exp_probs_b.*"])
add("minimax-m3-l8-q8_0", "minimax-m3", "Q8_0",
    base(8, 3072, 32, 4, 8192, 200064, 196608, head=128, rope__dimension_count=64,
         attention__indexer__head_count=4, attention__indexer__key_length=128, attention__indexer__top_k=16,
         attention__indexer__block_size=128, attention__indexer__local_blocks=1)
    | moe(64, 8, 1536, shared=1, dense_lead=2, gating=2), keep=[".*exp_probs_b.*"])
add("granite-3.1-1b-a400m-q8_0", "granitemoe", "Q8_0",
    base(24, 1024, 16, 8, 512, 49155, 131072, logit_scale=6.0, residual_scale=0.22, embedding_scale=12.0,
         attention__scale=0.015625) | {"expert_count": 32, "expert_used_count": 8}, tied=True)
add("deepseek-moe-16b-l8-f16", "deepseek", "F16",
    base(8, 2048, 16, 16, 10944, 102400, 4096, rope__dimension_count=128) | moe(64, 6, 1408, shared=2, dense_lead=1))
add("grovemoe-l6-q8_0", "grovemoe", "Q8_0",
    base(6, 2048, 32, 4, 6144, 151936, 40960, head=128, expert_chunk_feed_forward_length=128, expert_group_scale=0.05,
         experts_per_group=2) | moe(128, 8, 768))
add("step-3.5-flash-l8-q4_k_m", "step35", "Q4_K_M",
    base(8, 4096, [64, 96, 96, 96] * 2, 8, 11264, 128896, 262144, head=128, rope__dimension_count=64,
         attention__sliding_window=512, attention__sliding_window_pattern=[0, 1, 1, 1] * 2,
         rope__freq_base_swa=10000.0, rope__dimension_count_swa=128)
    | moe(64, 8, 1280, shared_ff=1280, dense_lead=3, gating=2), keep=[".*exp_probs_b.*"],
    drop=[r"blk\.[0-2]\.(ffn_(.*exp|gate_inp)|exp_probs_b).*", r"blk\.[3-7]\.ffn_(gate|up|down)\.weight"])

# --- latent attention -------------------------------------------------------------------------
add("deepseek-v2-lite-q4_k_m", "deepseek2", "Q4_K_M",
    base(27, 2048, 16, 1, 10944, 102400, 163840) | mla(None) | moe(64, 6, 1408, shared=2, dense_lead=1),
    drop=["attn_kv_b.*"])
add("deepseek-v3-l8-q4_k_m", "deepseek2", "Q4_K_M",
    base(8, 7168, 128, 1, 18432, 129280, 163840) | mla(1536) | moe(256, 8, 2048, shared=1, dense_lead=3, gating=2),
    keep=[".*exp_probs_b.*"], drop=["attn_kv_b.*"])
add("deepseek-v2-lite-oldfile-f16", "deepseek2", "F16",
    base(27, 2048, 16, 16, 10944, 102400, 163840)
    | {"attention.kv_lora_rank": 512, "rope.dimension_count": 64, "attention.key_length": 192, "attention.value_length": 128}
    | moe(64, 6, 1408, shared=2, dense_lead=1), drop=["attn_(k|v)_b.*"])
add("deepseek-v3.2-l8-q4_k_m", "deepseek32", "Q4_K_M",
    base(8, 7168, 128, 1, 18432, 129280, 163840) | mla(1536) | moe(256, 8, 2048, shared=1, dense_lead=3, gating=2)
    | {"attention.indexer.head_count": 64, "attention.indexer.key_length": 128, "attention.indexer.top_k": 2048},
    keep=[".*exp_probs_b.*", ".*indexer.*"], drop=["attn_kv_b.*"])
add("glm-5-l8-q4_k_m", "glm-dsa", "Q4_K_M",
    base(8, 6144, 64, 1, 12288, 154880, 202752) | mla(2048, nope=192, v=256)
    | moe(64, 8, 2048, shared=1, dense_lead=3, gating=2)
    | {"attention.indexer.head_count": 32, "attention.indexer.key_length": 128, "attention.indexer.top_k": 2048,
       "expert_weights_scale": 2.5, "expert_weights_norm": True},
    keep=[".*exp_probs_b.*", ".*indexer.*"], drop=["attn_kv_b.*"])
add("minicpm3-4b-l20-q8_0", "minicpm3", "Q8_0",
    base(20, 2560, 40, 40, 6400, 73448, 32768, attention__q_lora_rank=768, attention__kv_lora_rank=256,
         attention__key_length=96, attention__value_length=64, rope__dimension_count=32), tied=True)
add("kimi-linear-48b-l12-q4_k_m", "kimi-linear", "Q4_K_M",
    base(12, 2304, 32, [0, 0, 0, 1] * 3, 9216, 163840, 1048576) | mla(None)
    | {"ssm.conv_kernel": 4, "kda.head_dim": 128} | moe(256, 8, 1024, shared=1, dense_lead=1, gating=2),
    keep=[".*exp_probs_b.*"], drop=["attn_kv_b.*"])

add("deepseek-v4-flash-l8-q4_k_m", "deepseek4", "Q4_K_M",
    base(8, 4096, 64, 1, 2048, 129280, 1048576, head=512, rope__dimension_count=64, attention__sliding_window=128,
         attention__q_lora_rank=1024, attention__output_group_count=8, attention__output_lora_rank=1024,
         attention__compress_ratios=[0, 0, 4, 128, 4, 128, 4, 128], attention__compress_rope_freq_base=160000.0,
         attention__indexer__head_count=64, attention__indexer__key_length=128, attention__indexer__top_k=512,
         hyper_connection__count=4, hyper_connection__sinkhorn_iterations=20, hyper_connection__epsilon=1e-6,
         hash_layer_count=0, swiglu_clamp_exp=10.0, expert_weights_scale=1.5, expert_weights_norm=True)
    | moe(64, 6, 2048, shared=1, gating=4), keep=[".*exp_probs_b\\..*", ".*sinks.*", ".*scale.*"], drop=[".*exp_probs_b_vl.*"])
add("mistral4-l6-q4_k_m", "mistral4", "Q4_K_M",
    base(6, 4096, 32, 1, 12288, 131072, 262144) | mla(1024, kv_lora=256, rope=64, nope=64, v=128)
    | moe(64, 4, 2048, shared=1, dense_lead=0, gating=1), drop=["attn_kv_b.*"])

# --- recurrent state ---------------------------------------------------------------------------
NO_ATTENTION = dict(heads=0, kv=0)
add("mamba-2.8b-f16", "mamba", "F16", base(64, 2560, 0, 0, 0, 50280, 1048576) | ssm(5120, 16, 160), tied=True)
add("mamba2-2.7b-q8_0", "mamba2", "Q8_0", base(64, 2560, 0, 0, 0, 50288, 1048576) | ssm(5120, 128, 80, groups=1), tied=True)
add("jamba-mini-l16-q4_k_m", "jamba", "Q4_K_M",
    base(16, 4096, 32, [0, 0, 0, 0, 8, 0, 0, 0] * 2, 14336, 65536, 262144) | ssm(8192, 16, 256)
    | {"expert_count": 16, "expert_used_count": 2}, tied=True, drop=[r"blk\.\d*[02468]\.ffn_(.*_exps|gate_inp).*"],
    extra=[(f"blk.{i}.ffn_{part}.weight", [14336, 4096] if part == "down" else [4096, 14336])
           for i in range(0, 16, 2) for part in ("gate", "up", "down")])
add("falcon-h1-1.5b-bf16", "falcon-h1", "BF16",
    base(24, 2048, 8, 2, 4096, 65537, 131072, head=128, rope__dimension_count=128) | ssm(3072, 256, 48, groups=1), keep=["ssm_conv1d.bias"])
add("granite-4-h-tiny-q4_k_m", "granitehybrid", "Q4_K_M",
    base(40, 1536, 12, [4 if i in (5, 15, 25, 35) else 0 for i in range(40)], 512, 100352, 131072, logit_scale=6.0,
         residual_scale=0.22, embedding_scale=12.0, attention__scale=0.0078125)
    | ssm(3072, 128, 48, groups=1) | moe(64, 6, 512, shared_ff=1024), keep=["ssm_conv1d.bias"], tied=True)
add("granite-4-h-small-l20-q8_0", "granitehybrid", "Q8_0",
    base(20, 4096, 32, [8 if i in (5, 15) else 0 for i in range(20)], 768, 100352, 131072, logit_scale=16.0,
         residual_scale=0.22, embedding_scale=12.0, attention__scale=0.0078125)
    | ssm(8192, 128, 128, groups=1) | moe(72, 10, 768, shared_ff=1536), keep=["ssm_conv1d.bias"], tied=True)
_NEMO = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
add("nemotron-h-8b-q8_0", "nemotron_h", "Q8_0",
    base(len(_NEMO), 4096, 32, [8 if c == "*" else 0 for c in _NEMO],
         [21504 if c == "-" else 0 for c in _NEMO], 131072, 8192, eps="both", head=128) | ssm(8192, 128, 128, groups=8),
    keep=["ssm_conv1d.bias"])
_NANO = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
add("nemotron-3-nano-30b-q4_k_m", "nemotron_h_moe", "Q4_K_M",
    base(len(_NANO), 2688, 32, [2 if c == "*" else 0 for c in _NANO],
         [1856 if c == "E" else 0 for c in _NANO], 131072, 262144, eps="both", head=128)
    | ssm(4096, 128, 64, groups=8) | moe(128, 6, 1856, shared=1, shared_ff=3712), keep=["ssm_conv1d.bias", ".*exp_probs_b.*"], drop=["ffn_latent.*"])
add("qwen3-next-80b-l12-q4_k_m", "qwen3next", "Q4_K_M",
    base(12, 2048, 16, 2, 5120, 151936, 262144, head=256, rope__dimension_count=64)
    | ssm(4096, 128, 32, groups=16) | moe(512, 10, 512, shared_ff=512), drop=["ssm_in.*"])
add("qwen3.5-27b-l16-q4_k_m", "qwen35", "Q4_K_M",
    base(16, 5120, 24, 4, 17408, 248320, 262144, head=256, rope__dimension_count=64,
         rope__dimension_sections=[11, 11, 10, 0]) | ssm(6144, 128, 48, groups=16))
add("qwen3.5-35b-a3b-l12-q4_k_m", "qwen35moe", "Q4_K_M",
    base(12, 2048, 16, 2, 5120, 248320, 262144, head=256, rope__dimension_count=64,
         rope__dimension_sections=[11, 11, 10, 0]) | ssm(4096, 128, 32, groups=16) | moe(256, 8, 512, shared_ff=512))
add("rwkv6-1.6b-f16", "rwkv6", "F16",
    base(24, 2048, 0, 0, 7168, 65536, 1048576, eps="norm", wkv__head_size=64, time_mix_extra_dim=32,
         time_decay_extra_dim=64, rescale_every_n_layers=6), keep=[".*"])
add("rwkv7-1.5b-f16", "rwkv7", "F16",
    base(24, 2048, 0, 0, 8192, 65536, 1048576, eps="norm", wkv__head_size=64, attention__decay_lora_rank=96,
         attention__iclr_lora_rank=96, attention__value_residual_mix_lora_rank=64, attention__gate_lora_rank=256), keep=[".*"])
add("lfm2-1.2b-q8_0", "lfm2", "Q8_0",
    base(16, 2048, 32, [0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0], 8192, 65536, 128000, shortconv__l_cache=3), tied=True)
add("lfm2-8b-a1b-q4_k_m", "lfm2moe", "Q4_K_M",
    base(24, 2048, 32, [8 if i in (2, 6, 10, 14, 18, 21) else 0 for i in range(24)], 7168, 65536, 128000,
         shortconv__l_cache=3) | moe(32, 4, 1792, dense_lead=2, gating=2), keep=[".*exp_probs_b.*"], tied=True)
add("plamo2-1b-bf16", "plamo2", "BF16",
    base(16, 2048, 32, [0, 4] * 8, 8192, 100000, 10485760, head=128) | ssm(4096, 64, 32, groups=0), tied=True)
add("minimax-01-l8-q4_k_m", "minimax-01", "Q4_K_M",
    base(8, 6144, 64, 8, 9216, 200064, 1048576, head=128, rope__dimension_count=64, residual_scale=3.55,
         full_attention_interval=8) | moe(32, 2, 9216))

# --- encoders --------------------------------------------------------------------------------
add("bge-base-bert-f16", "bert", "F16",
    base(12, 768, 12, 12, 3072, 30522, 512, eps="norm", pooling_type=2, attention__causal=False, **{"=tokenizer__ggml__token_type_count": 2}), keep=[ALL_BIAS, "token_types.*"],
    drop=["attn_(q|k)_norm.*", "cls.*", "attn_norm_2.*"], tied=True)
add("nomic-embed-text-f16", "nomic-bert", "F16",
    base(12, 768, 12, 12, 3072, 30522, 2048, eps="norm", pooling_type=1, attention__causal=False, **{"=tokenizer__ggml__token_type_count": 2}), keep=["token_types.*"],
    drop=["cls.*", ".*\\.bias"], tied=True)
add("modernbert-base-f16", "modern-bert", "F16",
    base(22, 768, 12, 12, 1152, 50368, 8192, eps="norm", pooling_type=1, attention__causal=False,
         attention__sliding_window=128), drop=["cls.*"], tied=True)
add("embeddinggemma-300m-bf16", "gemma-embedding", "BF16",
    base(24, 768, 3, 1, 1152, 262144, 2048, head=256, attention__sliding_window=512, pooling_type=1), tied=True)
add("jina-bert-v2-base-f16", "jina-bert-v2", "F16",
    base(12, 768, 12, 12, 3072, 61056, 8192, eps="norm", pooling_type=1, attention__causal=False, **{"=tokenizer__ggml__token_type_count": 2}), keep=["token_types.*", ALL_BIAS],
    drop=["cls.*", "attn_(q|k)_norm.*", "attn_norm_2.*"], tied=True)
add("t5-base-f16", "t5", "F16",
    base(12, 768, 12, 12, 3072, 32128, 512, head=64, attention__relative_buckets_count=32, decoder_start_token_id=0), tied=True)
add("t5-encoder-xl-f16", "t5encoder", "F16",
    base(24, 2048, 32, 32, 5120, 32128, 512, head=64, attention__relative_buckets_count=32), tied=True)
add("llada-8b-l8-q8_0", "llada", "Q8_0", base(8, 4096, 32, 32, 12288, 126464, 4096, attention__causal=False))
add("nomic-embed-v2-moe-f16", "nomic-bert-moe", "F16",
    base(12, 768, 12, 12, 3072, 250048, 512, eps="norm", pooling_type=1, attention__causal=False, moe_every_n_layers=2,
         **{"=tokenizer__ggml__token_type_count": 1}) | {"expert_count": 8, "expert_used_count": 2},
    keep=["token_types.*", BIAS], drop=["cls.*"], tied=True)
add("arwkv7-7b-l8-f16", "arwkv7", "F16",
    base(8, 3584, 0, 0, 18944, 152064, 1048576, wkv__head_size=64, attention__decay_lora_rank=96,
         attention__iclr_lora_rank=96, attention__value_residual_mix_lora_rank=64, attention__gate_lora_rank=128,
         token_shift_count=1), keep=[".*"])
add("granite-swa-l8-q8_0", "granite_swa", "Q8_0",
    base(8, 2560, 32, 8, 8192, 100352, 131072, head=128, logit_scale=8.0, residual_scale=0.22, embedding_scale=12.0,
         attention__scale=0.0078125, attention__sliding_window=512, attention__sliding_window_pattern=[1, 1, 1, 0] * 2), tied=True)
add("laguna-l8-q4_k_m", "laguna", "Q4_K_M",
    base(8, 2048, 48, 8, 8192, 100352, 131072, head=128, attention__sliding_window=512)
    | moe(64, 8, 512, shared=1, shared_ff=512, dense_lead=1, gating=2), keep=[".*exp_probs_b.*"])
add("jais2-8b-l8-f16", "jais2", "F16", base(8, 3328, 26, 26, 26624, 150272, 8192, eps="norm"), keep=[ALL_BIAS])
add("hunyuan-vl-l8-f16", "hunyuan_vl", "F16",
    base(8, 1024, 16, 8, 3584, 120818, 32768, head=128, rope__dimension_sections=[16, 16, 16, 16]), tied=True)
add("pangu-1b-f16", "pangu-embedded", "F16", base(26, 1536, 12, 6, 6144, 153376, 32768, head=128), keep=[ALL_BIAS])
add("llada-moe-l8-q8_0", "llada-moe", "Q8_0",
    base(8, 2048, 16, 16, 8192, 157184, 8192, head=128, attention__causal=False) | moe(64, 8, 1024))
add("dream-7b-l8-q8_0", "dream", "Q8_0", base(8, 3584, 28, 4, 18944, 152064, 131072, attention__causal=False), keep=[BIAS])
add("hy-v3-l6-q4_k_m", "hy_v3", "Q4_K_M",
    base(6, 4096, 64, 8, 13312, 120832, 262144, head=128) | moe(64, 8, 1536, shared=1, shared_ff=1536, dense_lead=1, gating=2),
    keep=[".*exp_probs_b.*"])
add("nanbeige-l8-f16", "nanbeige", "F16", base(8, 2560, 20, 4, 10496, 166144, 65536, head=128, num_loops=2))
add("maincoder-1b-f16", "maincoder", "F16", base(32, 1536, 16, 4, 4096, 151936, 2048, head=96), tied=True)
