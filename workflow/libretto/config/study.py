"""The rows of the study, by what its page asks about them."""

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
        temperatures, guidance: rows of one variant by what differs.
        like: that variant.
    """

    shuffled: Sequence[str]
    copy: str
    band: str
    wrong: Mapping[float, str]
    temperatures: Mapping[float, str]
    guidance: Mapping[float, str]
    like: str


def study_roles(config: Mapping, systems: Mapping[str, System]) -> Roles:
    """Find the study's rows in an experiment.

    Raises:
        InputError: it is not the study's.
    """
    entries = config["systems"]
    controls = {name: entry for name, entry in entries.items() if "control" in entry}
    by_control = {entry["control"]: name for name, entry in controls.items()}
    likes = sorted({entry["variant"] for entry in entries.values() if "variant" in entry})
    if by_control.keys() != {"training-copy", "constant-band", "wrong-instruments"} or len(likes) != 1:
        raise InputError("the study needs its controls, and rows of one variant: snakemake --profile study")
    rows = [row for row in systems.values() if row.variant == likes[0]]
    guided = {row.sampling["guidance"]: row.name for row in rows if "guidance" in row.sampling}
    plain = {row.temperature: row.name for row in rows if row.temperature is not None and not row.sampling}
    return Roles(
        [
            row.name
            for row in systems.values()
            if config["variants"].get(row.variant, {}).get("descriptions") == "shuffled"
        ],
        by_control["training-copy"],
        by_control["constant-band"],
        {0.0: GROUND_TRUTH}
        | {entry["share"]: name for name, entry in sorted(controls.items()) if entry["control"] == "wrong-instruments"},
        dict(sorted(plain.items())),
        {1.0: plain[1.0]} | dict(sorted(guided.items())),
        likes[0],
    )


def study_clips(config: Mapping, systems: Mapping[str, System]) -> list[str]:
    """What the page lets hear: the truth, a row of each family, the shuffled one, and the wrongest control."""
    roles = study_roles(config, systems)
    last = [row.name for row in systems.values() if row.group == "Llama LLMs" and row.temperature == 1.0][-1]
    return [GROUND_TRUTH, roles.temperatures[1.0], last, roles.shuffled[0], roles.wrong[max(roles.wrong)]]
