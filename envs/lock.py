"""Resolves requirements.in to requirements.lock and writes the conda environment of each stage with the same pins.

Called by `make lock`; a test checks that the files are in step.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

# What the scripts of each stage import, by the names in requirements.in, and what conda itself provides.
STAGES = {
    "data": (["numpy", "pyarrow", "mido", "numba", "pandas", "matplotlib", "tqdm", "tokenizers", "torch",
              "transformers", "huggingface-hub", "httpx"], []),
    "models": (["numpy", "pyarrow", "mido", "numba", "torch", "transformers", "datasets", "accelerate", "safetensors",
                "tensorboard", "pandas", "tqdm"], []),
    "audio": (["numpy", "pyarrow", "pandas", "mido", "numba", "pyfluidsynth", "soundfile", "threadpoolctl", "librosa",
               "torch", "torchvision", "torchaudio", "transformers", "frechet-audio-distance", "torchvggish", "resampy",
               "laion-clap", "tqdm"], ["fluidsynth"]),
    "report": (["numpy", "pyarrow", "pandas", "mido", "numba", "matplotlib", "jinja2", "tabulate", "rocrate",
                "pyyaml", "tqdm"], []),
}  # fmt: skip


def pins(lock: str) -> dict[str, str]:
    """Versions by package name of a lock file's text."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", lock, flags=re.MULTILINE))


def resolve(source: str, *options: str) -> str:
    """The text of a lock file for the requirements in `source`."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--python-version", "3.11",
               "--no-emit-index-url", "--no-header", "--no-annotate", *options]  # fmt: skip
    return subprocess.run(command, input=source, text=True, check=True, capture_output=True).stdout


def environment(stage: str, lock: Path) -> str:
    """The conda environment file of a stage: Python, what only conda has, and the lock's pins of its packages."""
    packages, from_conda = STAGES[stage]
    pinned = pins(resolve("\n".join(packages), "--constraint", str(lock)))
    lines = ["# Written by `make lock`; its pins are those of requirements.lock.", f"name: libretto-{stage}"]
    lines += ["channels:", "  - conda-forge", "  - nodefaults", "dependencies:", "  - python=3.11", "  - pip"]
    lines += [f"  - {package}" for package in from_conda]
    lines += ["  - pip:", *(f"      - {name}=={version}" for name, version in pinned.items())]
    return "\n".join(lines) + "\n"


def main():
    """Write requirements.lock and every stage's environment file."""
    lock = FOLDER / "requirements.lock"
    lock.write_text(resolve((FOLDER / "requirements.in").read_text(), "--generate-hashes"))
    for stage in STAGES:
        (FOLDER / f"{stage}.yaml").write_text(environment(stage, lock))


if __name__ == "__main__":
    main()
