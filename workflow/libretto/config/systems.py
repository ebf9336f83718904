"""The systems: the rows of the results table, from the config (paper, Table 3), and FAD's reference set."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from libretto.errors import InputError

GROUND_TRUTH = "ground-truth"
RANDOM_TEXT = "ground-truth-random-text"
UNCONDITIONAL = "amt-unconditional"

Kind = Literal[
    "ground-truth", "random-text", "unconditional", "variant", "checkpoint", "outside", "control", "fad-reference"
]


@dataclass(frozen=True)
class System:
    """A set of music: a row of the results table, or FAD's reference set.

    Attributes:
        name: as in file names, such as `llama-3b-amt-t1.1`.
        kind: where its music comes from.
        group: the heading of Table 3 under which the row stands.
        label: the row's name in Table 3, or one in its style for a variant that is not in the paper; followed by the
            variant's name if several variants would have the same.
        variant: the config's name of the trained variant; None for a baseline.
        temperature: of sampling; None if this run samples nothing.
        sampling: what it has instead of its variant's section `sampling`.
        checkpoint: the config's name of the trained model that it samples; None for others.
        best_of: of how many candidates for a description the best one is kept.
        has_own_length: whether its pieces are longer or shorter than the others': its scores cannot be compared.
    """

    name: str
    kind: Kind
    group: str
    label: str
    variant: str | None = None
    temperature: float | None = None
    sampling: Mapping = field(default_factory=dict, hash=False)
    checkpoint: str | None = None
    best_of: int = 1
    has_own_length: bool = False

    @property
    def is_sampled(self) -> bool:
        """True if a model made the music."""
        return self.kind in ("unconditional", "variant", "checkpoint", "outside")

    @property
    def has_fad(self) -> bool:
        """True unless its music is the ground truth's, with which FAD compares."""
        return self.is_sampled or self.kind == "control"

    @property
    def split(self) -> str:
        """The split that its songs, or the descriptions of its samples, come from."""
        return "background" if self.kind == "fad-reference" else "test"

    @property
    def heard_as(self) -> str:
        """The system whose audio is this one's: the same music with other descriptions is not rendered twice."""
        return GROUND_TRUTH if self.kind == "random-text" else self.name


FAD_REFERENCE = System("background", "fad-reference", "", "FAD's reference set")  # in no table


def systems(config: dict) -> dict[str, System]:
    """The rows of the table by name, in the order and grouping of the paper's Table 3."""
    rows = [
        System(GROUND_TRUTH, "ground-truth", "Baselines", "Ground truth"),
        System(RANDOM_TEXT, "random-text", "Baselines", "Ground truth (random text)"),
    ]
    for t in config["unconditional"]["temperatures"]:
        rows.append(
            System(f"{UNCONDITIONAL}-t{float(t)}", "unconditional", "Baselines", "AMT-Large (unconditional)", None, t)
        )
    labels = {name: _label(variant, config["data"]["chunk_tokens"]) for name, variant in config["variants"].items()}
    counts = Counter(labels.values())
    labels = {name: label if counts[label] == 1 else f"{label} ({name})" for name, label in labels.items()}
    for family, group in (("amt", "AMT-Large + text cond"), ("llama", "Llama LLMs")):
        for name, variant in config["variants"].items():
            if variant["family"] == family:
                for t in variant["temperatures"]:
                    rows.append(System(f"{name}-t{float(t)}", "variant", group, labels[name], name, t))
    for name, entry in config["systems"].items():
        rows.append(_further(name, entry, config))
    names = [row.name for row in [*rows, FAD_REFERENCE]]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"config: two systems have the same name: {', '.join(sorted(repeated))} (that of FAD's reference set is "
            f"{FAD_REFERENCE.name}); rename a variant or an "
            "entry of systems, or name each temperature once"
        )
    return {row.name: _with_candidates(row, config) for row in rows}


def sampling_settings(config: dict, system: System) -> dict:
    """The section `sampling`, with what the system's variant, or `unconditional`, and the system have of their own."""
    own: dict = {} if system.checkpoint else config["unconditional"]
    if system.variant:
        own = config["variants"][system.variant]
    return config["sampling"] | own.get("sampling", {}) | system.sampling


def _with_candidates(system: System, config: dict) -> System:
    if system.temperature is None:
        return system
    own = sampling_settings(config, system)
    length = config["sampling"]["max_new_tokens"]
    return replace(system, best_of=own["best_of"], has_own_length=own["max_new_tokens"] != length)


def _further(name: str, entry: dict, config: dict) -> System:
    group, label = "Other systems", entry.get("label", name)
    if "midi" in entry or "control" in entry:
        return System(name, "outside" if "midi" in entry else "control", group, label)
    sampled = entry["temperature"], entry.get("sampling", {})
    if "checkpoint" in entry:
        return System(name, "checkpoint", group, label, None, *sampled, entry["checkpoint"])
    if entry["variant"] not in config["variants"]:
        raise InputError(
            f"config, systems.{name}.variant: there is no variant {entry['variant']}; there are: "
            f"{', '.join(config['variants'])}"
        )
    return System(name, "variant", group, label, entry["variant"], *sampled)


def _label(variant: dict, chunk_tokens: int) -> str:
    further = f", from {variant['start']}" if "start" in variant else ""
    further += ", music without text" if variant.get("songs") == "unpaired" else ""
    further += ", shuffled descriptions" if variant.get("descriptions") == "shuffled" else ""
    length = variant.get("chunk_tokens", chunk_tokens)
    further += ", chunks at random" if variant.get("chunks") == "random" else ""
    if "description_dropout" in variant:
        further += f", {100 * variant['description_dropout']:g} % of descriptions dropped"
    further += f", chunks of {length:,} tokens" if length != chunk_tokens else ""
    further += ", base frozen" if "freeze" in variant else ""
    further += f", LoRA of rank {variant['adapter']['rank']}" if "adapter" in variant else ""
    if variant["family"] == "amt":
        return f"{'w/' if variant['text_states'] == 'weighted' else 'w/o'} weighted Llama states{further}"
    size = variant["base"].rpartition("-")[2].upper()
    init = "" if "start" in variant else f" {'w/' if variant['init'] == 'amt' else 'w/o'} AMT embed init"
    return f"{size}{init}{further}"
