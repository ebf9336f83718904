"""What a job asks a cluster for, by the size of its model."""

from libretto.config.systems import System

# MB of the host's memory and minutes for a training, by base model. Checkpoints pass through the host's memory; a card
# such as an A100 takes less than half of these minutes (docs/full-run.md).
TRAINING = {"amt-large": (32_000, 1_440), "llama-1b": (48_000, 2_160), "llama-3b": (96_000, 4_320)}
LARGEST = TRAINING["llama-3b"]  # for models of your own


def training_mb(config: dict, variant: str) -> int:
    """Memory of the host for a variant's training, MB."""
    return TRAINING.get(config["variants"][variant]["base"], LARGEST)[0]


def training_minutes(config: dict, variant: str) -> int:
    """Time for a variant's training."""
    return TRAINING.get(config["variants"][variant]["base"], LARGEST)[1]


def sampling_mb(config: dict, system: System) -> int:
    """Memory of the host for what reads a system's model: its weights, without an optimizer's state, MB."""
    if system.variant:
        return training_mb(config, system.variant) // 2
    return TRAINING.get(system.checkpoint or config["unconditional"]["base"], LARGEST)[0] // 2
