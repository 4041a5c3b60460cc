"""Prints the scrape of an engine whose source declares its metrics with prometheus_client.

    python declared.py ENGINE VERSION COLLECTOR.py [COLLECTOR.py ...] > scrape.txt

Names, types and help texts are read from the engine's own source; prometheus_client prints them. Values and labels
are ours (below): no engine ran. Buckets are the source's where it writes them as numbers, in the call or as a constant of
one of the files, and prometheus_client's default where it computes them.
"""

import ast
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

KINDS = {"gauge": Gauge, "counter": Counter, "histogram": Histogram}
LABELS = {
    "vllm": [{"model_name": "Qwen/Qwen3-8B", "engine": str(rank)} for rank in (0, 1)],
    # One replica of two ranks, both of which report.
    "sglang": [
        {"model_name": "Qwen/Qwen3-8B", "engine_type": "unified", "tp_rank": str(rank), "pp_rank": "0"} for rank in (0, 1)
    ],
}
# Labels of the process that talks to clients: no ranks.
FRONT = {"sglang": {"model_name": "Qwen/Qwen3-8B"}}
VALUES = {
    "num_requests_running": 7, "num_requests_waiting": 3, "kv_cache_usage_perc": 0.625, "gpu_cache_usage_perc": 0.625,
    "prefix_cache_queries": 50000, "prefix_cache_hits": 20000, "gpu_prefix_cache_queries": 50000,
    "gpu_prefix_cache_hits": 20000, "gpu_prefix_cache_hit_rate": 0.4, "num_preemptions": 2, "prompt_tokens": 61440,
    "prompt_tokens_cached": 20000, "generation_tokens": 24576, "request_success": 96, "spec_decode_num_draft_tokens": 3000,
    "spec_decode_num_accepted_tokens": 2100, "spec_decode_draft_acceptance_rate": 0.7, "num_running_reqs": 7,
    "num_queue_reqs": 3, "token_usage": 0.625, "num_used_tokens": 81920, "max_total_num_tokens": 131072,
    "cache_hit_rate": 0.4, "gen_throughput": 412.5, "num_retracted_reqs": 1, "num_retracted_requests": 2,
    "cached_tokens": 20000, "num_requests": 96, "spec_accept_rate": 0.7, "spec_accept_length": 3.1,
}
SECONDS = {
    "time_to_first_token_seconds": [0.03, 0.05, 0.07, 0.09, 0.2, 0.3, 0.4, 0.6, 0.9, 3.0],
    "time_per_output_token_seconds": [0.012, 0.013, 0.018, 0.02, 0.021, 0.03, 0.031, 0.04, 0.06, 0.09],
    "request_time_per_output_token_seconds": [0.012, 0.013, 0.018, 0.02, 0.021, 0.03, 0.031, 0.04, 0.06, 0.09],
    "inter_token_latency_seconds": [0.012, 0.013, 0.018, 0.02, 0.021, 0.03, 0.031, 0.04, 0.06, 0.09],
    "e2e_request_latency_seconds": [0.4, 0.6, 0.9, 1.2, 1.4, 2.2, 3.1, 4.0, 9.0, 41.0],
    "request_queue_time_seconds": [0.0, 0.0, 0.0, 0.1, 0.2, 0.2, 0.25, 0.4, 0.5, 2.0],
    "queue_time_seconds": [0.0, 0.0, 0.0, 0.1, 0.2, 0.2, 0.25, 0.4, 0.5, 2.0],
}


def literal(node):
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def module_constants(paths):
    """Lists of numbers that the files define at their top, by name."""
    found = {}
    for path in paths:
        for node in ast.parse(open(path).read()).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                found[node.target.id] = literal(node.value)
    return found


def declarations(path, prefix, shared):
    """Kind, name, help, buckets, and whether a rank declares it, of each metric in a source file."""
    for outer in [node for node in ast.walk(ast.parse(open(path).read())) if isinstance(node, ast.ClassDef)]:
        constants = dict(shared) | {
            target.id: literal(node.value)
            for node in ast.walk(outer) if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)
        }
        for call in [node for node in ast.walk(outer) if isinstance(node, ast.Call)]:
            words = {word.arg: word.value for word in call.keywords}
            called = ast.unparse(call.func).lower()
            kind = next((kind for kind in KINDS if kind in called.split(".")[-1]), None)
            name = literal(words.get("name"))
            if kind and isinstance(name, str) and name.startswith(prefix) and "gaugehistogram" not in called:
                buckets = words.get("buckets")
                if isinstance(buckets, ast.Name):
                    buckets = constants.get(buckets.id) or constants.get(buckets.id.upper())
                else:
                    buckets = literal(buckets)
                yield kind, name, literal(words.get("documentation")) or name, buckets, "Tokenizer" not in outer.name


def main(engine, version, *paths):
    number = [int(part) for part in version.split(".")[:3]]
    registry, seen = CollectorRegistry(), set()
    prefix = engine + ":"
    shared = module_constants(paths)
    for path in paths:
        for kind, name, text, buckets, is_of_rank in declarations(path, prefix, shared):
            short = name.removeprefix(prefix).removesuffix("_total" if kind == "counter" else "\0")
            if short in seen or (short not in VALUES and short not in SECONDS):
                continue
            seen.add(short)
            series = LABELS[engine] if is_of_rank else [FRONT[engine]]
            extra = {"finished_reason": "stop"} if short == "request_success" else {}
            extra |= {"cache_source": "device"} if short == "cached_tokens" and number >= [0, 5, 23] else {}
            options = {"buckets": buckets} if buckets else {}
            metric = KINDS[kind](name, text, [*series[0], *extra], registry=registry, **options)
            for rank, labels in enumerate(series):
                child = metric.labels(**labels, **extra)
                if kind == "gauge":
                    child.set(VALUES[short])
                elif kind == "counter":
                    child.inc(VALUES[short])
                for value in SECONDS.get(short, []) if kind == "histogram" else []:
                    child.observe(value * (1 + rank))
    if engine == "vllm":
        info = {"block_size": "16", "cache_dtype": "auto", "gpu_memory_utilization": "0.9", "num_gpu_blocks": "8192"}
        if number >= [0, 33]:
            info["kv_cache_size_tokens"] = "131000"
        gauge = Gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", [*info, "engine"], registry=registry)
        for rank in (0, 1):
            gauge.labels(**info, engine=str(rank)).set(1)
    sys.stdout.write(generate_latest(registry).decode())


main(*sys.argv[1:])
