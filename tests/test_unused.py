"""What a rule's code hash leaves out is not called: a module of the other family, another embedding."""

import sys
from pathlib import Path

import pytest
import torch

from libretto.generation.sampling import conditioned, make_draw
from libretto.models.batches import MiddleChunks, load_split
from libretto.training.validation import validation_loss

WORKFLOW = Path(__file__).parents[1] / "workflow"
UNUSED = {"amt": {"llama.py"}, "llama": {"amt.py", "encoder.py"}}  # as workflow/rules/common.smk has it
SAMPLING = {"top_p": 0.9, "top_k": 0, "constraint": "none", "instruments": [], "max_new_tokens": 6}


@pytest.fixture
def called():
    """The files of libretto/models in which a function is called from now on."""
    files = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent == WORKFLOW / "libretto/models" and frame.f_code.co_name != "<module>":
            files.add(path.name)

    sys.setprofile(note)
    yield files
    sys.setprofile(None)


def test_the_rules_leave_out_what_is_tested_here():
    text = (WORKFLOW / "rules/common.smk").read_text()
    assert 'amt, llama = ["amt", "encoder"], ["llama"]' in text


def test_a_family_does_not_call_the_others_modules(make_tiny, splits, tmp_path, family, called):
    variant = make_tiny(family)
    items = MiddleChunks(load_split(splits["valid"], str(tmp_path)), variant.prompter)
    batch = variant.encode(variant.collate([items[0], items[1]]))
    variant.model(**batch, num_items_in_batch=torch.tensor(40)).loss.backward()
    validation_loss(variant, items, 2, False)
    conditioned(variant)(["A waltz.", "A jig."], 6, make_draw(SAMPLING, 1.0, range(2)))
    assert {"batches.py", "prompts.py"} <= called
    assert not called & UNUSED[family]
    assert called & UNUSED[{"amt": "llama", "llama": "amt"}[family]]
