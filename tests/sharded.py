"""Trains tiny models by the processes that torchrun starts; see test_sharding.py.

    torchrun --nproc-per-node 2 -m tests.sharded FOLDER AMT LLAMA TRAIN VALID

Each family is trained three times: by train.py, each process with the whole model; spread over the processes,
undisturbed; and so, killed at a step and resumed. The first process writes to FOLDER what share of a model it holds.
"""

import gc
import json
import runpy
import sys
from pathlib import Path

import pytest

from libretto.imports import lean_imports

with lean_imports():
    import torch
    from torch import distributed

    from libretto.models.batches import load_split
    from libretto.models.variants import base_model, make_variant
    from libretto.training import variant as finetuning
    from tests.conftest import TEXT, variant_settings
    from tests.test_training import Interrupted, Kill, command, run

WHOLE = {"max_steps": 10, "eval_steps": 5, "micro_batch_size": 2, "batch_size": 4}
RATES = {"projection_learning_rate": 2e-3}  # groups of parameters
SETTINGS = {"shard": True, "max_steps": 6, "eval_steps": 2}


def main(folder, amt, llama, train, valid):
    gc.freeze()  # as conftest.py does
    for family in ("amt", "llama"):
        sys.argv = command(family, folder / family, {"train": train, "valid": valid}, amt, llama, **WHOLE)[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")

    shares = {}
    for family, base in (("amt", amt), ("llama", llama)):
        settings = variant_settings(family, **SETTINGS, **(RATES if family == "amt" else {}))
        songs = {name: load_split(path, str(folder / "cache")) for name, path in (("train", train), ("valid", valid))}

        def make(settings=settings, base=base):
            torch.manual_seed(0)
            return make_variant(base_model(settings, base, llama, amt), settings, TEXT, llama, torch.device("cpu"))

        variant = make()
        run(variant, songs, settings["training"], folder / family / "undisturbed")
        parameters = list(variant.model.parameters())
        shares[family] = sum(p.to_local().numel() for p in parameters) / sum(p.numel() for p in parameters)

        stop, finetuning.StopOnTerminate = finetuning.StopOnTerminate, lambda: Kill(3)
        with pytest.raises(Interrupted):
            run(make(), songs, settings["training"], folder / family / "killed")
        finetuning.StopOnTerminate = stop
        run(make(), songs, settings["training"], folder / family / "killed")
    if distributed.get_rank() == 0:
        (folder / "shares.json").write_text(json.dumps(shares))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
