"""The rows of the study, by what its page asks about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libretto.config.systems import GROUND_TRUTH, System
from libretto.errors import InputError


@dataclass(frozen=True)
class Roles:
    """The rows that the study asks about, by their names in the table.

    Attributes:
        shuffled: those of variants that were trained with the descriptions of other songs.
        copy, band: the controls `training-copy` and `constant-band`.
        wrong: the controls `wrong-instruments` by their share.
        temperatures: rows of one variant by their temperature.
        like: that variant.
        guidance: its rows, and those of variants that differ in `description_dropout` alone, by that share, then by
            their guidance.
        best_of: its rows by the number of candidates, of which the best is kept.
        trained: its row, and those of variants that differ in `adapter` or `freeze` alone, by what was trained.
        chunks: two variants that differ in the order of their chunks alone, by that order.
    """

    shuffled: Sequence[str]
    copy: str
    band: str
    wrong: Mapping[float, str]
    temperatures: Mapping[float, str]
    like: str
    guidance: Mapping[float, Mapping[float, str]]
    best_of: Mapping[int, str]
    trained: Mapping[str, str]
    chunks: Mapping[str, str]


def study_roles(config: Mapping, systems: Mapping[str, System]) -> Roles:
    """Find the study's rows in an experiment.

    Raises:
        InputError: it is not the study's.
    """
    variants, entries = config["variants"], config["systems"]
    controls = {name: entry for name, entry in entries.items() if "control" in entry}
    by_control = {entry["control"]: name for name, entry in controls.items()}
    counts = Counter(entry["variant"] for entry in entries.values() if "variant" in entry)
    orders = _chunk_orders(variants)
    has_amt_init = any(variant.get("init") == "amt" for variant in variants.values())
    is_study = by_control.keys() == {"training-copy", "constant-band", "wrong-instruments"}
    if not (is_study and counts and orders and has_amt_init):
        raise InputError("the study needs its controls, and rows of its variants: snakemake --profile study")
    like = counts.most_common(1)[0][0]
    of = {name: [row for row in systems.values() if row.variant == name] for name in variants}
    guidance, trained = {}, {"everything": of[like][0].name}
    for name, variant in variants.items():
        rows = {row.sampling.get("guidance", 1.0): row.name for row in of[name] if _differs_in(row, "guidance")}
        if len(rows) > 1 and _same_but_for(variant, variants[like], "description_dropout"):
            share = variant.get("description_dropout", config["text"]["description_dropout"])
            guidance[share] = dict(sorted(rows.items()))
        if _same_but_for(variant, variants[like], "adapter") and "adapter" in variant:
            trained[f"LoRA of rank {variant['adapter']['rank']}, and the text projection"] = of[name][0].name
        if _same_but_for(variant, variants[like], "freeze") and "freeze" in variant:
            trained["the text projection alone"] = of[name][0].name
    return Roles(
        [row.name for row in systems.values() if variants.get(row.variant, {}).get("descriptions") == "shuffled"],
        by_control["training-copy"],
        by_control["constant-band"],
        {0.0: GROUND_TRUTH}
        | {entry["share"]: name for name, entry in sorted(controls.items()) if entry["control"] == "wrong-instruments"},
        dict(sorted((row.temperature or 0, row.name) for row in of[like] if not row.sampling)),
        like,
        dict(sorted(guidance.items())),
        {row.best_of: row.name for row in of[like] if _differs_in(row, "best_of")},
        trained,
        orders,
    )


def _differs_in(row: System, key: str) -> bool:
    """Whether a row's sampling is the paper's but for `key`, if at all."""
    return row.temperature == 1 and row.sampling.keys() <= {key}


def _same_but_for(variant: Mapping, other: Mapping, key: str) -> bool:
    """Whether two variants are trained alike, but for `key`."""
    keys = (variant.keys() | other.keys()) - {key, "temperatures", "sampling"}
    return all(variant.get(name) == other.get(name) for name in keys)


def _chunk_orders(variants: Mapping[str, Mapping]) -> dict[str, str]:
    """Two variants that differ in the order of their chunks alone, by that order; empty if there are none."""
    for name, variant in variants.items():
        for other in variants:
            if (
                variant.get("chunks") == "random"
                and other != name
                and _same_but_for(variant, variants[other], "chunks")
            ):
                return {"in turn": other, "random": name}
    return {}


def study_clips(config: Mapping, systems: Mapping[str, System]) -> list[str]:
    """What the page lets hear: the truth, a row of each family, the shuffled one, and the wrongest control."""
    roles = study_roles(config, systems)
    llama = next(row.name for row in systems.values() if config["variants"].get(row.variant, {}).get("init") == "amt")
    return [GROUND_TRUTH, roles.temperatures[1.0], llama, roles.shuffled[0], roles.wrong[max(roles.wrong)]]
