"""Sends requests to a running engine and keeps what it then tells of itself.

    python capture.py ENGINE URL FOLDER [MODEL]

ENGINE is vllm, sglang or llama.cpp. Only the standard library is used. Three moments are kept: `before` after
one reply, `busy` with eight requests sent at once, and one without suffix after all of them. Nothing that the engine
answers is changed.
"""

import concurrent.futures
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

DOCUMENTS = {
    "vllm": ["/metrics", "/version", "/v1/models"],
    "sglang": ["/metrics", "/server_info"],
    "llama.cpp": ["/metrics", "/props", "/slots"],
}
# Words in common at the start, so that a prefix cache finds some of them.
PROMPT = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife. However little known the feelings or views of such a man may be "
)


def ask(address, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"} if data else {})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read()


def complete(address, model, number, tokens):
    body = {"model": model, "prompt": f"{PROMPT}{number}", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body |= {"stream": True} if number % 2 else {}
    return ask(address, "/v1/completions", body)


def keep(engine, address, folder, suffix):
    for path in DOCUMENTS[engine]:
        name = path.strip("/").replace("/", "-")
        try:
            answer = ask(address, path)
        except urllib.error.HTTPError as error:
            print(f"{path}: status {error.code}")
            continue
        ending = "txt" if path == "/metrics" else "json"
        (folder / f"{name}{suffix}.{ending}").write_bytes(answer)


def main(engine, address, folder, model="demo"):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    complete(address, model, 0, 16)
    time.sleep(2)
    keep(engine, address, folder, ".before")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(complete, address, model, number, 300) for number in range(1, 9)]
        time.sleep(0.7)
        keep(engine, address, folder, ".busy")
        for reply in replies:
            reply.result()
    time.sleep(2)
    keep(engine, address, folder, "")
    (folder / "response.json").write_bytes(complete(address, model, 10, 16))


main(*sys.argv[1:])
