"""The workflow's rules and sources as plain values, for the scripts that say where files came from and what they cost.

The Snakefile imports this module on every call: it must stay quick to import.
"""

import os
from collections.abc import Iterable

from libretto.config.sources import config_key, source_entry, source_names, source_path

# What pins a source, in the words of schema.org.
PINS = {"hub": "identifier", "revision": "version", "url": "url"}


def describe_rules(rules: Iterable, folder: str) -> list[dict]:
    """What each of Snakemake's rules makes and takes.

    Args:
        rules: Snakemake's rule objects.
        folder: of the Snakefile.

    Returns:
        For each rule that has a benchmark, as all have that compute something: `name`; `tool`, the script or else the
        rule file that holds its code, relative to `folder`; `outputs` and `benchmark`, regular expressions of their
        paths; `gpus` that a job asks for, None if that is computed for each job.
    """
    return [
        {
            "name": rule.name,
            "tool": os.path.relpath(
                os.path.join(os.path.dirname(rule.snakefile), rule.script) if rule.script else rule.snakefile, folder
            ),
            "outputs": [output.regex().pattern for output in rule.output],
            "benchmark": rule.benchmark.regex().pattern,
            "gpus": _gpus(rule.resources),
        }
        for rule in rules
        if rule.benchmark
    ]


def _gpus(resources) -> int | None:
    if "gpu" not in resources:
        return 0
    return None if resources["gpu"].is_evaluable() else resources["gpu"].value


def _pins(config: dict, name: str) -> dict:
    entry = source_entry(config, name)
    return {} if "path" in entry else entry


def describe_sources(config: dict, folder: str) -> dict[str, dict]:
    """Each source's `path` (in `folder` where it is downloaded), and its `pins` as properties of schema.org.

    A copy of the user's own has none: nobody has compared it with what the pins are of.
    """
    return {
        name: {
            "path": source_path(config, name, folder),
            "pins": {"name": config_key(name)}
            | {PINS[key]: value for key, value in _pins(config, name).items() if key in PINS},
        }
        for name in source_names(config)
    }
