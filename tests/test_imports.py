"""transformers is imported without packages that nothing here uses; all is as it was afterwards."""

import gc
import importlib
import json
import subprocess
import sys

import pytest

from libretto import imports
from libretto.imports import UNUSED, lean_imports
from tests.checkout import ROOT


def fail_in_the_block():
    with lean_imports():
        assert not gc.isenabled()
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("colorsys")
        assert importlib.import_module("json") is json, "what is loaded stays"
        raise ZeroDivisionError


def test_packages_are_hidden_in_the_block_alone(monkeypatch):
    monkeypatch.setattr(imports, "UNUSED", ("colorsys", "json"))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ZeroDivisionError):
        fail_in_the_block()
    assert gc.isenabled()
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert sys.modules["json"] is json


def test_garbage_is_collected_afterwards_only_if_it_was_before():
    gc.disable()
    try:
        with lean_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# What an adapter needs is imported after the block.
TRAINING = f"""
import sys
from libretto.imports import lean_imports
with lean_imports():
    import torch
    from libretto.models.adapter import add_adapter, merged_state
    from libretto.training.variant import train_variant
    from transformers import LlamaConfig, LlamaForCausalLM
found = [name for name in {UNUSED} if name in sys.modules]
assert not found, found
sizes = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 8)
model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2))
model.new_parameters = ("lm_head.",)
before = model.state_dict().keys()
add_adapter(model, {{"rank": 2, "alpha": 4, "dropout": 0.0}})
assert merged_state(model).keys() == before
"""


@pytest.mark.slow
def test_a_training_imports_none_of_them_and_can_have_an_adapter():
    subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT / "workflow", check=True)
