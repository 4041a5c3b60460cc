"""Cache bytes that Hugging Face transformers really holds after N tokens, for many model types.

Each configuration is small, the model is built on the meta device and run there where its code
allows it, else on the CPU; the cache object's tensors are summed afterwards.
"""

import argparse
import json
import os
import re
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results", "transformers.jsonl")
CONFIGS = os.path.join(HERE, "models", "transformers")

COMMON = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8,
          "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 8192}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
MLA = {"num_key_value_heads": 8, "kv_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32,
       "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "first_k_dense_replace": 1,
       "n_group": 1, "topk_group": 1}
SLIDE = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
TABLE = {
    "llama": {}, "mistral": {"sliding_window": 256}, "mistral-nowindow": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {}, "qwen3": {"head_dim": 32}, "qwen3_moe": {"head_dim": 32, **MOE}, "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 64},
    "mixtral": {"num_local_experts": 4, "sliding_window": None}, "gemma": {"head_dim": 32},
    "gemma2": {"head_dim": 32, "sliding_window": 256, "query_pre_attn_scalar": 32},
    "gemma3_text": {"head_dim": 32, "sliding_window": 256, "layer_types": SLIDE, "query_pre_attn_scalar": 32},
    "phi": {}, "phi3": {"pad_token_id": 0}, "gpt2": {"n_embd": 128, "n_head": 8, "n_layer": 4, "n_positions": 4096, "n_inner": 256},
    "gpt_neox": {}, "falcon": {"multi_query": True, "new_decoder_architecture": False}, "bloom": {"n_head": 8, "n_layer": 4},
    "starcoder2": {"sliding_window": None}, "stablelm": {}, "cohere": {}, "cohere2": {"sliding_window": 256, "head_dim": 16, "layer_types": SLIDE},
    "olmo": {}, "olmo2": {}, "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": {**MLA, "q_lora_rank": None, "topk_method": "greedy"}, "deepseek_v3": {**MLA, "q_lora_rank": 48},
    "glm": {"head_dim": 16, "pad_token_id": 0}, "glm4": {"head_dim": 16, "pad_token_id": 0},
    "glm4_moe": {"head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "first_k_dense_replace": 1},
    "gpt_oss": {"head_dim": 16, "sliding_window": 128, "num_local_experts": 4, "num_experts_per_tok": 2,
                "layer_types": ["sliding_attention", "full_attention"] * 2},
    "mamba": {"state_size": 16, "expand": 2, "conv_kernel": 4, "time_step_rank": 8},
    "mamba2": {"state_size": 32, "expand": 2, "conv_kernel": 4, "num_heads": 8, "head_dim": 32, "n_groups": 1, "chunk_size": 64},
    "falcon_mamba": {"state_size": 16, "expand": 2, "conv_kernel": 4, "time_step_rank": 8},
    "jamba": {"attn_layer_offset": 2, "attn_layer_period": 4, "expert_layer_offset": 1, "expert_layer_period": 2, "num_experts": 4,
              "num_experts_per_tok": 2, "use_mamba_kernels": False, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
              "mamba_dt_rank": 8, "pad_token_id": 0},
    "qwen3_next": {"head_dim": 32, **MOE, "shared_expert_intermediate_size": 64, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
                   "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4},
    "qwen3_5_text": {"head_dim": 32, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 32,
                     "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "mamba", "attention", "mamba"], "num_local_experts": 4, "num_experts_per_tok": 2,
                         "shared_intermediate_size": 64, "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 32,
                         "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2},
    "falcon_h1": {"head_dim": 16, "mamba_d_ssm": 256, "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 32, "mamba_n_groups": 1,
                  "mamba_d_conv": 4, "mamba_expand": 2},
    "bamba": {"attn_layer_indices": [2], "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 32, "mamba_n_groups": 1,
              "mamba_d_conv": 4, "mamba_expand": 2},
    "zamba2": {"num_key_value_heads": 8, "mamba_d_state": 32, "mamba_expand": 2, "n_mamba_heads": 8, "mamba_ngroups": 1,
               "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"], "num_mem_blocks": 1},
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"], "conv_L_cache": 3},
    "recurrent_gemma": {"lru_width": 128, "attention_window_size": 256, "head_dim": 16, "block_types": ["recurrent", "recurrent", "attention"]},
    "exaone4": {"sliding_window": 256, "layer_types": SLIDE}, "smollm3": {"pad_token_id": 0}, "granite": {}, "nemotron": {"head_dim": 16},
    "seed_oss": {"head_dim": 16}, "apertus": {}, "ernie4_5": {"head_dim": 16}, "minimax": {"layer_types": ["linear_attention", "full_attention"] * 2,
                                                                                       "num_local_experts": 4, "head_dim": 16},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "moe"], "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 32,
                   "n_groups": 1, "head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                   "moe_shared_expert_intermediate_size": 64},
    "rwkv": {"attention_hidden_size": 128}, "dbrx": {"d_model": 128, "n_heads": 8, "n_layers": 4, "attn_config": {"kv_n_heads": 2},
                                                     "ffn_config": {"ffn_hidden_size": 128, "moe_num_experts": 4, "moe_top_k": 2}},
    "cohere2_moe": {"sliding_window": 256, "head_dim": 16, "layer_types": SLIDE, "num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe_swa": {"sliding_window": 256, "layer_types": SLIDE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "minimax_m3_vl_text": {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "dense_intermediate_size": 256,
                           "shared_intermediate_size": 64, "index_n_heads": 2, "index_head_dim": 16, "rotary_dim": 16,
                           "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse", "full_attention"]},
    "olmo_hybrid": {"layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"], "linear_num_key_heads": 4,
                    "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 32, "pad_token_id": 0},
    "lfm3": {"head_dim": 16, "sliding_window": 256, "layer_types": ["conv", "full_attention", "sliding_attention", "conv"], "pad_token_id": 0},
    "xlstm": {"num_heads": 4, "embedding_dim": 128, "num_blocks": 4},
    "persimmon": {}, "opt": {"ffn_dim": 256, "word_embed_proj_dim": 128}, "mpt": {"d_model": 128, "n_heads": 8, "n_layers": 4, "max_seq_len": 4096},
    "gptj": {"n_embd": 128, "n_head": 8, "n_layer": 4, "rotary_dim": 8, "n_positions": 4096}, "gpt_bigcode": {"n_embd": 128, "n_head": 8, "n_layer": 4,
                                                                                   "n_positions": 4096, "n_inner": 256},
    "phimoe": {"num_local_experts": 4}, "diffllama": {}, "helium": {"head_dim": 16}, "dots1": {"head_dim": 16, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 64, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
}
LENGTHS = (64, 300, 1000)


def tensors_of(obj, seen, depth=0):
    """Every distinct tensor reachable in a cache object."""
    import torch

    if isinstance(obj, torch.Tensor):
        if id(obj) not in seen:
            seen[id(obj)] = obj
    elif depth < 6:
        if isinstance(obj, dict):
            for v in obj.values():
                tensors_of(v, seen, depth + 1)
        elif isinstance(obj, (list, tuple)):
            for v in obj:
                tensors_of(v, seen, depth + 1)
        elif hasattr(obj, "__dict__") and type(obj).__module__.startswith("transformers") and not type(obj).__name__.endswith("Config"):
            for v in vars(obj).values():
                tensors_of(v, seen, depth + 1)
    return seen


def measure(name, keys):
    import torch
    import transformers

    fields = {**COMMON, **keys}
    kind = fields.pop("model_type", name)
    config = transformers.AutoConfig.for_model(kind, **fields)
    config.use_cache = True
    rows, where = [], "meta"
    for device in ("meta", "cpu"):
        try:
            rows, where = [], device
            with torch.device(device):
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
            params = sum(p.numel() for p in model.parameters())
            for length in LENGTHS:
                with torch.no_grad():
                    out = model(torch.zeros((1, length), dtype=torch.long, device=device), use_cache=True)
                cache = next((getattr(out, k) for k in ("past_key_values", "cache_params", "state") if getattr(out, k, None) is not None), None)
                found = tensors_of(cache, {})
                # reserved positions and counters are integers; only the states count
                states = [t for t in found.values() if t.is_floating_point()]
                rows.append({"tokens": length, "cache_bytes": sum(t.numel() * t.element_size() for t in states), "tensors": len(states),
                             "dtypes": sorted({str(t.dtype).replace("torch.", "") for t in states}), "class": type(cache).__name__})
            if all(r["cache_bytes"] for r in rows):
                break
        except Exception as e:  # a model whose code reads values cannot run on meta
            error = f"{type(e).__name__}: {e}"[:200]
            if device == "cpu":
                return config, {"error": error}
    return config, {"device": where, "parameters": params, "measured": rows}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", default="")
    a = ap.parse_args()
    import torch
    import transformers

    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    failed = 0
    with open(RESULTS, "w") as f:
        for name, keys in TABLE.items():
            if not re.search(a.only, name):
                continue
            try:
                config, result = measure(name, keys)
            except Exception as e:
                print(name, "left out:", f"{type(e).__name__}: {e}"[:160], flush=True)
                failed += 1
                continue
            if "measured" in result and not all(r["cache_bytes"] for r in result["measured"]):
                result = {"error": "no cache in its output"}
            if "error" in result:
                print(name, "left out:", result["error"], flush=True)
                failed += 1
                continue
            folder = os.path.join(CONFIGS, name)
            os.makedirs(folder, exist_ok=True)
            text = config.to_diff_dict() | {k: v for k, v in config.to_dict().items() if k in {**COMMON, **keys, "model_type": 0, "layer_types": 0}}
            text["torch_dtype"] = "bfloat16"
            text.setdefault("architectures", [type_of(config)])
            with open(os.path.join(folder, "config.json"), "w") as g:
                g.write(json.dumps(text, indent=1, sort_keys=True, default=str) + "\n")
            for row in result.pop("measured"):
                f.write(json.dumps({"id": f"{name}-{row['tokens']}", "name": name, "config": f"models/transformers/{name}/config.json",
                                    "request": {"engine": "transformers", "backend": "CPU", "context": row["tokens"], "prompt": row["tokens"],
                                                "kv_type": "bf16"},
                                    **result, "measured": row, "versions": versions}) + "\n")
            print(name, result["device"], "ok", flush=True)
    return 1 if failed else 0


def type_of(config):
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, "")


if __name__ == "__main__":
    sys.exit(main())
