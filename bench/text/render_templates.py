"""Renders chat templates with Jinja2 as transformers sets it up, for the engine's tests.

    pip install jinja2==3.1.6
    python bench/text/render_templates.py [FOLDER]

FOLDER holds `*.jinja` (default: crates/hwledger-engine/testdata/templates). Each is rendered with every
conversation of `conversations.json` (of the default folder); `expected.json` is written beside the templates:
for each template and conversation a text, `{"refused": message}` where the template raises an exception by
itself, or `{"failed": message}` where it fails otherwise.
"""

import json
import pathlib
import sys
from datetime import datetime, timezone

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HOME = pathlib.Path(__file__).resolve().parents[2] / "crates/hwledger-engine/testdata/templates"


class Refused(jinja2.exceptions.TemplateError):
    """`raise_exception` was called."""


class Generation(jinja2.ext.Extension):
    """The tag `generation`: its body, as transformers renders it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


def environment(now):
    """`_compile_jinja_template` of transformers 5.24."""

    def raise_exception(message):
        raise Refused(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    found = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    found.filters["tojson"] = tojson
    found.globals["raise_exception"] = raise_exception
    found.globals["strftime_now"] = now.strftime
    return found


def render(template, case):
    try:
        return template.render(
            messages=case["messages"],
            tools=case.get("tools"),
            documents=None,
            add_generation_prompt=case.get("add_generation_prompt", False),
            bos_token="<s>",
            eos_token="</s>",
            **case.get("extra", {}),
        )
    except Refused as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever a template can do wrong
        return {"failed": f"{type(error).__name__}: {error}"}


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HOME
    cases = json.loads((HOME / "conversations.json").read_text(encoding="utf-8"))
    now = datetime.fromtimestamp(cases["unix_seconds"], timezone.utc)
    expected = {}
    for path in sorted(folder.glob("*.jinja")):
        template = environment(now).from_string(path.read_bytes().decode())
        expected[path.stem] = {name: render(template, case) for name, case in cases["conversations"].items()}
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    for name, found in expected.items():
        print(name, {case: "text" if isinstance(text, str) else text for case, text in found.items()})


main()
