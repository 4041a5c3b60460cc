#!/usr/bin/env python3
"""Reads hwledger's Parquet files with pandas and with DuckDB, and compares them with its CSV.

Usage: bench/parquet/run.sh > bench/parquet/results.txt
"""
import json
import os
import subprocess
import sys
import tempfile

import duckdb
import pandas

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAM = os.path.join(ROOT, "target", "release", "hwledger")
SWEEP = ["sweep", "qwen3-30b-a3b", "--offline", "--engine", "llama.cpp",
         "--vary", "device=RTX 3060,2x RTX 3090,M2 Max 64GB", "--vary", "weights=Q8_0,Q4_K_M,AWQ-4bit",
         "--vary", "context=4K..32K..4K", "--vary", "concurrency=1,4"]
BENCH = """| model | size | params | backend | ngl | test | t/s |
| --- | --- | --- | --- | --- | --- | --- |
| llama 8B Q4_K - Medium | 4.58 GiB | 8.03 B | CUDA | 99 | pp512 | 4000.00 ± 20.00 |
| llama 8B Q4_K - Medium | 4.58 GiB | 8.03 B | CUDA | 99 | tg128 | 110.00 ± 0.50 |
"""


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")


def recorded(folder):
    """Runs of the ledger and a recording of a machine that does not exist, as pandas and DuckDB read them."""
    place = ["--ledger", os.path.join(folder, "ledger"), "--signer", os.path.join(folder, "signer")]
    bench = ["bench", "demo", "--prompt", "32", "--generate", "16", "--sequences", "1", "--repetitions", "1"]
    run(*bench, "--record", *place)
    figures, records = os.path.join(folder, "figures.parquet"), os.path.join(folder, "records.parquet")
    run("reconcile", "--out", figures, "--records", records, *place)
    recording, readings = os.path.join(folder, "recording"), os.path.join(folder, "readings.parquet")
    run("probe", "record", recording, "--source", "mock:7", "--count", "40", "--interval", "1s")
    run("probe", "export", recording, readings)
    for path, columns in [(figures, 15), (records, 65), (readings, 9)]:
        frame = pandas.read_parquet(path)
        rows = duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchone()[0]
        wide = len(duckdb.sql(f"SELECT * FROM '{path}' LIMIT 1").columns)
        assert rows == len(frame) > 0 and wide == len(frame.columns) == columns, (path, rows, frame.shape, wide)
        print(f"{os.path.basename(path)}: {rows} rows, {wide} columns, the same for pandas and DuckDB")
    gap = duckdb.sql(f"SELECT max(abs(ln(measured / predicted) - ln(ratio))) FROM '{figures}'").fetchone()[0]
    assert gap < 1e-9, gap


def plain(column):
    """A column as Python values: numbers as floats (whole ones below 2^53 exactly), None where absent."""
    absent = column.isna()
    values = [None if gone else value for value, gone in zip(column.tolist(), absent)]
    return [float(value) if isinstance(value, (int, float)) else value for value in values]


def same(left, right, name):
    """Two columns hold the same; numbers to seven digits, as bounds of 32 bits are printed."""
    left, right = plain(left), plain(right)
    assert len(left) == len(right), name
    for row, (one, other) in enumerate(zip(left, right)):
        if isinstance(one, float) and isinstance(other, float):
            assert abs(one - other) <= 1e-6 * abs(other), (name, row, one, other)
        else:
            assert one == other, (name, row, one, other)


def read(path):
    by_pandas = pandas.read_parquet(path)
    by_duckdb = duckdb.sql(f"select * from read_parquet('{path}')").df()
    assert list(by_pandas.columns) == list(by_duckdb.columns)
    assert len(by_pandas) == len(by_duckdb)
    for name in by_pandas.columns:
        same(by_pandas[name], by_duckdb[name], name)
    types = duckdb.sql(f"describe select * from read_parquet('{path}')").fetchall()
    return by_pandas, {name: kind for name, kind, *_ in types}


def main():
    print(f"pandas {pandas.__version__}, duckdb {duckdb.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        recorded(folder)
        at = lambda name: os.path.join(folder, name)
        for ending in ("parquet", "csv"):
            run(*SWEEP, "--out", at(f"sweep.{ending}"))
            run(*SWEEP, "--records", "check", "--out", at(f"record.{ending}"))
        for name in ("sweep", "record"):
            table, types = read(at(f"{name}.parquet"))
            text = pandas.read_csv(at(f"{name}.csv"))
            assert list(table.columns) == list(text.columns)
            assert len(table) == len(text)
            for column in table.columns:
                if column != "t_wall_ns":  # two runs, two times
                    same(table[column], text[column], column)
            print(f"{name}: {len(table)} rows, {len(table.columns)} columns, the same in both and as in CSV")
            print(f"  types: {json.dumps(types)}")
        counts = duckdb.sql(
            f"select device, weights, max(context) as longest from read_parquet('{at('sweep.parquet')}') "
            "where verdict = 'fits' group by all order by all").fetchall()
        print(f"  longest context that fits, asked of DuckDB: {counts}")
        with open(at("bench.md"), "w") as bench:
            bench.write(BENCH)
        store = at("pairs.parquet")
        learn = ["calibrate", at("bench.md"), "--offline", "--calibration", "none", "--store", store,
                 "--model", "llama-3.1-8b", "--device", "RTX 3090"]
        run(*learn)
        table, types = read(store)
        assert list(table.measured) == [4000.0, 110.0] or sorted(table.measured) == [110.0, 4000.0], table
        print(f"calibration: {len(table)} pairs, {len(table.columns)} columns, the same in both")
        print(f"  types: {json.dumps(types)}")
        # A table that pandas wrote comes back in.
        table.to_parquet(at("again.parquet"), engine="pyarrow", index=False)
        done = subprocess.run(
            [PROGRAM, "plan", "llama-3.1-8b", "--weights", "Q4_K_M", "--engine", "llama.cpp", "--device", "RTX 3090",
             "--backend", "CUDA", "--offline", "--json", "--calibration", at("again.parquet")],
            capture_output=True, text=True, check=True)
        speed = json.loads(done.stdout)["speed"]
        print(f"a store written by pandas is read: decode {speed['decode_tokens_per_s']['value']:.1f} tokens/s, "
              f"basis {speed['decode_tokens_per_s']['basis']}")


if __name__ == "__main__":
    main()
