import re
from types import SimpleNamespace

from libretto.provenance.rules import describe_rules, describe_sources

CONFIG = {
    "sources": {
        "lmd": {"path": "/data/lmd.tar.gz", "url": "http://example.org/lmd.tar.gz", "sha256": "00"},
        "midicaps": {"hub": "amaai-lab/MidiCaps", "revision": "abc", "file": "train.json"},
        "soundfont": {"path": "/data/gm.sf2"},
        "models": {"llama-1b": {"hub": "meta-llama/Llama-3.2-1B", "revision": "def", "gated": True}},
    }
}


class Path(str):
    def regex(self):
        return re.compile(self)


class Resource:
    def __init__(self, value):
        self.value = value

    def is_evaluable(self):
        return callable(self.value)


def rule(name, script=None, benchmark=None, **resources):
    resources = {key: Resource(value) for key, value in resources.items()}
    return SimpleNamespace(
        name=name,
        script=script,
        snakefile="/repo/workflow/rules/training.smk",
        output=[Path("results/r/x$")],
        benchmark=benchmark,
        resources=resources,
    )


def test_rules():
    rules = [
        rule("table", "../scripts/table.py", Path("results/r/benchmarks/table.tsv$")),
        rule("train", benchmark=Path("results/r/benchmarks/train.tsv$"), gpu=2),
        rule("generate", benchmark=Path("results/r/benchmarks/generate.tsv$"), gpu=lambda wildcards: 1),
        rule("all"),
        rule("missing_lmd"),
    ]
    table, train, generate = describe_rules(rules, "/repo")
    assert table == {
        "name": "table",
        "tool": "workflow/scripts/table.py",
        "outputs": ["results/r/x$"],
        "benchmark": "results/r/benchmarks/table.tsv$",
        "gpus": 0,
    }
    assert (train["tool"], train["gpus"]) == ("workflow/rules/training.smk", 2)
    assert generate["gpus"] is None


def test_sources_and_their_pins():
    sources = describe_sources(CONFIG, "results/r/sources")
    assert list(sources) == ["lmd", "midicaps", "soundfont", "llama-1b"]
    assert sources["lmd"]["path"] == "/data/lmd.tar.gz"
    assert sources["llama-1b"] == {
        "path": "results/r/sources/models/llama-1b",
        "pins": {"name": "sources.models.llama-1b", "identifier": "meta-llama/Llama-3.2-1B", "version": "def"},
    }
