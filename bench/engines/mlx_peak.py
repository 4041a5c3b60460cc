"""Weights, cache and peak memory of mlx-lm on random weights.

Two sizes: `tiny` (a few MB: weight and cache bytes are what counts) and `peak` (100 to 900 MB: the
peak too). In bfloat16, float16 and quantised all arithmetic is done; in float32 the matrix products
are skipped (`skip_gemm.c`), which leaves every allocation as it is and makes long prompts possible.
MLX has no fused attention on a CPU: the scores of all heads are held there, on Metal they are not.
"""

import argparse
import copy
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results", "mlx.jsonl")
CONFIGS = os.path.join(HERE, "models", "mlx")


def llama_like(model_type, arch, **more):
    return {"architectures": [arch], "model_type": model_type, "hidden_size": 256, "intermediate_size": 704,
            "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 4096,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 32768,
            "tie_word_embeddings": False, "hidden_act": "silu", **more}


BASE = {
    "llama": llama_like("llama", "LlamaForCausalLM"),
    "qwen2": llama_like("qwen2", "Qwen2ForCausalLM", tie_word_embeddings=True),
    "qwen3": llama_like("qwen3", "Qwen3ForCausalLM", head_dim=64),
    "qwen3_moe": llama_like("qwen3_moe", "Qwen3MoeForCausalLM", head_dim=64, num_experts=8, num_experts_per_tok=2,
                            decoder_sparse_step=1, mlp_only_layers=[], moe_intermediate_size=128, norm_topk_prob=True),
    "mixtral": llama_like("mixtral", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2),
    "gemma2": llama_like("gemma2", "Gemma2ForCausalLM", head_dim=32, query_pre_attn_scalar=32, sliding_window=128,
                         attn_logit_softcapping=50.0, final_logit_softcapping=30.0, tie_word_embeddings=True),
    "gemma3_text": llama_like("gemma3_text", "Gemma3ForCausalLM", num_hidden_layers=6, head_dim=32,
                              query_pre_attn_scalar=32, sliding_window=512, sliding_window_pattern=6,
                              rope_local_base_freq=10000.0, tie_word_embeddings=True),
    "phi3": llama_like("phi3", "Phi3ForCausalLM", original_max_position_embeddings=32768, sliding_window=None),
    "olmo2": llama_like("olmo2", "Olmo2ForCausalLM", num_key_value_heads=8),
    "cohere2": llama_like("cohere2", "Cohere2ForCausalLM", head_dim=32, layer_norm_eps=1e-5, sliding_window=512,
                          sliding_window_pattern=4, logit_scale=0.25, tie_word_embeddings=True),
    "gpt_oss": llama_like("gpt_oss", "GptOssForCausalLM", head_dim=32, sliding_window=128, num_local_experts=4,
                          num_experts_per_tok=2, intermediate_size=256,
                          layer_types=["sliding_attention", "full_attention"] * 2),
    "deepseek_v2": llama_like("deepseek_v2", "DeepseekV2ForCausalLM", num_key_value_heads=8, kv_lora_rank=128,
                              q_lora_rank=None, qk_rope_head_dim=32, qk_nope_head_dim=64, v_head_dim=64,
                              n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=128,
                              first_k_dense_replace=1, moe_layer_freq=1, n_group=1, topk_group=1, topk_method="greedy",
                              routed_scaling_factor=1.0, rope_scaling={
                                  "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192,
                                  "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}),
    "deepseek_v3": llama_like("deepseek_v3", "DeepseekV3ForCausalLM", num_key_value_heads=8, kv_lora_rank=128,
                              q_lora_rank=96, qk_rope_head_dim=32, qk_nope_head_dim=64, v_head_dim=64,
                              n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=128,
                              first_k_dense_replace=1, moe_layer_freq=1, n_group=1, topk_group=1,
                              topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True,
                              routed_scaling_factor=1.0),
    "minicpm3": llama_like("minicpm3", "MiniCPM3ForCausalLM", num_key_value_heads=8, kv_lora_rank=128, q_lora_rank=96,
                           qk_rope_head_dim=32, qk_nope_head_dim=64, v_head_dim=64, dim_model_base=256, scale_depth=1.4,
                           scale_emb=12, rope_scaling={"type": "longrope", "original_max_position_embeddings": 32768,
                                                       "long_factor": [1.0] * 16, "short_factor": [1.0] * 16}),
    "mamba": {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 256,
              "intermediate_size": 512, "state_size": 16, "num_hidden_layers": 4, "conv_kernel": 4, "use_bias": False,
              "use_conv_bias": True, "time_step_rank": 16, "vocab_size": 4096, "tie_word_embeddings": True,
              "layer_norm_epsilon": 1e-5, "expand": 2},
    "mamba2": {"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 256, "num_heads": 8,
               "head_dim": 64, "intermediate_size": 512, "state_size": 64, "num_hidden_layers": 4, "conv_kernel": 4,
               "n_groups": 1, "use_bias": False, "use_conv_bias": True, "time_step_rank": 16, "vocab_size": 4096,
               "tie_word_embeddings": True, "layer_norm_epsilon": 1e-5, "time_step_limit": [0.0, 1e9], "expand": 2},
    "qwen3_next": llama_like("qwen3_next", "Qwen3NextForCausalLM", head_dim=64, linear_num_value_heads=8,
                             linear_num_key_heads=4, linear_key_head_dim=32, linear_value_head_dim=32,
                             linear_conv_kernel_dim=4, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=1,
                             shared_expert_intermediate_size=128, mlp_only_layers=[], moe_intermediate_size=128,
                             partial_rotary_factor=0.25, norm_topk_prob=True, full_attention_interval=4),
    "granitemoehybrid": llama_like("granitemoehybrid", "GraniteMoeHybridForCausalLM", attention_bias=False,
                                   embedding_multiplier=12.0, attention_multiplier=0.1, logits_scaling=8.0,
                                   residual_multiplier=0.22, layer_types=["mamba", "mamba", "attention", "mamba"],
                                   num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=256,
                                   intermediate_size=128, mamba_n_heads=8, mamba_d_head=64, mamba_proj_bias=False,
                                   mamba_d_state=64, mamba_d_conv=4, mamba_n_groups=1, mamba_conv_bias=True,
                                   mamba_expand=2, tie_word_embeddings=True),
    "lfm2": llama_like("lfm2", "Lfm2ForCausalLM", norm_eps=1e-5, conv_bias=False, conv_L_cache=3, block_dim=256,
                       block_multiple_of=64, block_ffn_dim_multiplier=1.0, block_auto_adjust_ff_dim=False,
                       block_ff_dim=704, layer_types=["conv", "conv", "full_attention", "conv"],
                       full_attn_idxs=[2], tie_word_embeddings=True),
    "falcon_h1": llama_like("falcon_h1", "FalconH1ForCausalLM", head_dim=32, mamba_d_head=32, mamba_d_ssm=512,
                            mamba_d_state=64, mamba_n_heads=16, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2,
                            mamba_chunk_size=128, mamba_rms_norm=False, mamba_conv_bias=True, mamba_proj_bias=False,
                            attention_bias=False, mlp_bias=False),
    "nemotron_h": llama_like("nemotron_h", "NemotronHForCausalLM", attention_bias=False, mamba_num_heads=8,
                             mamba_head_dim=64, mamba_proj_bias=False, ssm_state_size=64, conv_kernel=4, n_groups=1,
                             mlp_bias=False, layer_norm_epsilon=1e-5, use_bias=False, use_conv_bias=True,
                             hybrid_override_pattern=["M", "-", "*", "-"], head_dim=32, expand=2, mlp_hidden_act="relu2"),
    "jamba": llama_like("jamba", "JambaForCausalLM", attn_layer_offset=2, attn_layer_period=4, expert_layer_offset=1,
                        expert_layer_period=2, mamba_d_conv=4, mamba_d_state=16, mamba_expand=2, num_experts=4,
                        num_experts_per_tok=2, mamba_dt_rank=16, tie_word_embeddings=True),
    "exaone4": llama_like("exaone4", "Exaone4ForCausalLM", rope_scaling=None, head_dim=32, sliding_window=512,
                          sliding_window_pattern="LLLG",
                          layer_types=["sliding_attention"] * 3 + ["full_attention"]),
}
BIG = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 12,
       "num_key_value_heads": 4, "vocab_size": 32000}
PEAK = {
    "llama": BIG, "qwen3": {**BIG, "head_dim": 128}, "qwen2": BIG, "olmo2": {**BIG, "num_key_value_heads": 12},
    "gemma2": {**BIG, "head_dim": 64}, "gemma3_text": {**BIG, "head_dim": 64, "num_hidden_layers": 12},
    "phi3": BIG, "qwen3_moe": {**BIG, "head_dim": 64, "num_experts": 16, "moe_intermediate_size": 256},
    "deepseek_v3": {**BIG, "num_key_value_heads": 12, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
                    "qk_nope_head_dim": 128, "v_head_dim": 128, "q_lora_rank": 256, "moe_intermediate_size": 512},
    "deepseek_v2": {**BIG, "num_key_value_heads": 12, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
                    "qk_nope_head_dim": 128, "v_head_dim": 128, "moe_intermediate_size": 512},
    "gpt_oss": {**BIG, "head_dim": 64, "intermediate_size": 768, "num_local_experts": 8,
                "layer_types": ["sliding_attention", "full_attention"] * 4},
    "mixtral": {**BIG, "num_local_experts": 8, "intermediate_size": 1024},
    "cohere2": {**BIG, "head_dim": 64}, "exaone4": {**BIG, "head_dim": 64,
                                                    "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2},
}


def cases():
    out = []
    for name, base in BASE.items():
        # grouped matrix products (experts) exist on a CPU only in float32
        if not any(k in base for k in ("num_experts", "num_local_experts", "n_routed_experts")):
            out.append({"name": name, "size": "tiny", "dtype": "bfloat16", "bits": 0, "prompt": 100, "generate": 4})
        for prompt in (300, 700) if name == "jamba" else (300, 700, 1500):
            out.append({"name": name, "size": "tiny", "dtype": "float32", "bits": 0, "prompt": prompt, "generate": 4})
    for name, bits in [(n, b) for n in ("llama", "qwen3", "gemma2", "phi3", "qwen2", "mamba2") for b in (4, 8)]:
        for prompt in (30, 270) if name == "llama" else (30,):
            out.append({"name": name, "size": "tiny", "dtype": "bfloat16", "bits": bits, "prompt": prompt, "generate": 4})
    for name in ("llama", "qwen3"):
        for kv_bits in (4, 8):
            out.append({"name": name, "size": "tiny", "dtype": "float16", "bits": 0, "prompt": 280, "generate": 4,
                        "kv_bits": kv_bits, "quantized_kv_start": 0})
            out.append({"name": name, "size": "tiny", "dtype": "float16", "bits": 0, "prompt": 280, "generate": 30,
                        "kv_bits": kv_bits, "quantized_kv_start": 290})
    for max_kv in (128, 512):
        out.append({"name": "llama", "size": "tiny", "dtype": "float32", "bits": 0, "prompt": 700, "generate": 4, "max_kv_size": max_kv})
    for name in PEAK:
        for prompt in (100, 1000, 3000) if name != "llama" else (100, 1000, 2049, 3000, 6000):
            out.append({"name": name, "size": "peak", "dtype": "float32", "bits": 0, "prompt": prompt, "generate": 4})
    for case in out:
        case["id"] = "-".join(str(x) for x in (case["name"], case["size"], case["bits"] or case["dtype"], case["prompt"],
                                               *(f"{k}{case[k]}" for k in ("kv_bits", "quantized_kv_start", "max_kv_size") if k in case)))
    return out


def config_of(case):
    config = copy.deepcopy(BASE[case["name"]])
    if "kv_bits" in case:  # cache quantisation wants heads of 64
        config.update({"num_attention_heads": 4, "head_dim": 64})
    if case["size"] == "peak":
        config.update(PEAK[case["name"]])
        if case["name"] == "lfm2":
            config["block_dim"] = config["hidden_size"]
    config["torch_dtype"] = case["dtype"]
    if case["bits"]:
        config["quantization"] = {"group_size": 64, "bits": case["bits"]}
    return config


def folder_of(case):
    return f"{case['name']}-{case['size']}-" + (f"{case['bits']}bit" if case["bits"] else case["dtype"]) + (
        "-head64" if "kv_bits" in case else "")


def kv_type(case):
    """Groups of 64 with a 16-bit scale and bias take the bytes of q4_0 and q8_0."""
    if "kv_bits" in case:
        return f"q{case['kv_bits']}_0"
    return {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[case["dtype"]]


def nbytes(tree):
    import mlx.core as mx

    if isinstance(tree, mx.array):
        return tree.nbytes
    if isinstance(tree, dict):
        return sum(nbytes(v) for v in tree.values())
    if isinstance(tree, (list, tuple)):
        return sum(nbytes(v) for v in tree)
    return 0


def cache_rows(caches):
    """Per layer: the class and the bytes of the arrays it holds (whole, not the part in use)."""
    rows = []
    for c in caches:
        inner = getattr(c, "caches", None)
        if inner is not None:
            rows.append(["CacheList", sum(r[1] for r in cache_rows(inner))])
        else:
            rows.append([type(c).__name__, sum(nbytes(v) for v in vars(c).values())])
    return rows


def measure(case):
    import importlib

    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.generate import generate_step
    from mlx_lm.models.cache import make_prompt_cache

    mx.random.seed(0)
    config = config_of(case)
    module = importlib.import_module("mlx_lm.models." + case["name"])
    model = module.Model(module.ModelArgs.from_dict(config))
    model.set_dtype(getattr(mx, case["dtype"]))
    if case["bits"]:
        keep = getattr(model, "quant_predicate", None)
        nn.quantize(model, 64, case["bits"],
                    class_predicate=lambda p, m: hasattr(m, "to_quantized") and (keep(p, m) is not False if keep else True)
                    and m.weight.shape[-1] % 64 == 0)
    model.eval()
    mx.eval(model.parameters())
    flat = [v for _, v in tree_flatten(model.parameters())]
    weights = sum(v.nbytes for v in flat)
    mx.clear_cache()
    before = mx.get_active_memory()
    cache = make_prompt_cache(model, max_kv_size=case.get("max_kv_size"))
    prompt = mx.arange(case["prompt"]) % 1000
    mx.eval(prompt)
    mx.reset_peak_memory()
    started = time.time()
    options = {k: case[k] for k in ("kv_bits", "quantized_kv_start", "max_kv_size") if k in case}
    tokens = 0
    for _ in generate_step(prompt, model, max_tokens=case["generate"], prompt_cache=cache, **options):
        tokens += 1
    mx.synchronize()
    rows = cache_rows(cache)
    return {"weights_bytes": weights, "active_before": before, "peak_bytes": mx.get_peak_memory(),
            "active_after": mx.get_active_memory(), "cache_bytes": sum(r[1] for r in rows), "cache_layers": rows,
            "generated": tokens, "seconds": round(time.time() - started, 2)}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", default="")
    ap.add_argument("--append", action="store_true")
    ap.add_argument("--limit-seconds", type=float, default=1500, help="no case starts after this")
    ap.add_argument("--one", help=argparse.SUPPRESS)
    a = ap.parse_args()
    table = {c["id"]: c for c in cases()}
    if a.one:
        print(json.dumps(measure(table[a.one])))
        return 0
    from importlib.metadata import version

    versions = {p: version(p) for p in ("mlx", "mlx-lm")}
    stub = os.path.join(os.environ.get("TMPDIR", "/tmp"), "hwledger-skip-gemm.so")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", stub, os.path.join(HERE, "skip_gemm.c")], check=True)
    wanted = {i: c for i, c in table.items() if re.search(a.only, i)}
    kept = [x for x in open(RESULTS) if json.loads(x)["id"] not in wanted] if a.append and os.path.exists(RESULTS) else []
    started, failed = time.time(), 0
    with open(RESULTS, "w") as f:
        f.writelines(kept)
        for name, case in wanted.items():
            if time.time() - started > a.limit_seconds:
                print("time limit: left out", name, flush=True)
                continue
            folder = os.path.join(CONFIGS, folder_of(case))
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "config.json"), "w") as g:
                g.write(json.dumps(config_of(case), indent=1) + "\n")
            env = dict(os.environ)
            if case["dtype"] == "float32":
                env["LD_PRELOAD"] = stub
            try:
                run = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, env=env, timeout=240)
            except subprocess.TimeoutExpired:
                print(name, "timed out", flush=True)
                failed += 1
                continue
            row = {**case, "config": f"models/mlx/{folder_of(case)}/config.json", "arithmetic_skipped": case["dtype"] == "float32",
                   "request": {"engine": "mlx", "backend": "CPU", "prompt": case["prompt"], "generate": case["generate"],
                               "context": case["prompt"] + case["generate"], "kv_type": kv_type(case)}, "versions": versions}
            if run.returncode:
                failed += 1
                row["error"] = run.stderr.strip().splitlines()[-1:]
                print(name, row["error"], flush=True)
            else:
                row["measured"] = json.loads(run.stdout.strip().splitlines()[-1])
                print(name, {k: row["measured"][k] for k in ("weights_bytes", "cache_bytes", "peak_bytes", "seconds")}, flush=True)
            f.write(json.dumps(row) + "\n")
            f.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
