"""The content hash of scripts: it follows what they import, and nothing else."""

import os

import pytest

from libretto import code
from tests.checkout import ROOT

FILES = {
    "scripts/train.py": "from libretto.training import train\n",
    "scripts/fold.py": "import libretto.models.llama\n",
    "scripts/late.py": "def main():\n    from libretto import chunks\n",
    "libretto/__init__.py": "",
    "libretto/training.py": "import torch\n\nfrom libretto.models import amt\n",
    "libretto/chunks.py": "SIZE = 1\n",
    "libretto/models/__init__.py": "",
    "libretto/models/amt.py": "from libretto.vocab import VOCAB\n",
    "libretto/models/llama.py": "import numpy\n",
    "libretto/vocab.py": "VOCAB = 55030\n",
}
SCRIPTS = ["train", "fold", "late"]


@pytest.fixture
def library(tmp_path, monkeypatch):
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(code, "LIBRARY", tmp_path / "libretto")
    return tmp_path


def hashes(library):
    code._imports.cache_clear()
    return {script: code.code_hash(library / "scripts" / f"{script}.py") for script in SCRIPTS}


@pytest.mark.parametrize(
    ("changed", "scripts"),
    [
        ("scripts/train.py", {"train"}),
        ("libretto/training.py", {"train"}),
        ("libretto/vocab.py", {"train"}),
        ("libretto/models/amt.py", {"train"}),
        ("libretto/models/llama.py", {"fold"}),
        ("libretto/models/__init__.py", {"train", "fold"}),
        ("libretto/chunks.py", {"late"}),
        ("libretto/__init__.py", {"train", "fold", "late"}),
    ],
)
def test_a_change_reaches_just_the_scripts_that_import_it(library, changed, scripts):
    before = hashes(library)
    path = library / changed
    path.write_text(path.read_text() + "# changed\n")
    after = hashes(library)
    assert {script for script in SCRIPTS if before[script] != after[script]} == scripts


def test_a_touch_changes_nothing(library):
    before = hashes(library)
    for path in library.rglob("*.py"):
        os.utime(path)
    assert hashes(library) == before


def test_another_place_changes_nothing(library, tmp_path_factory, monkeypatch):
    before = hashes(library)
    copy = tmp_path_factory.mktemp("copy")
    for name, content in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(content)
    monkeypatch.setattr(code, "LIBRARY", copy / "libretto")
    assert hashes(copy) == before


def test_content_that_moves_between_modules_is_a_change(library):
    before = hashes(library)
    (library / "libretto/models/amt.py").write_text("")
    (library / "libretto/vocab.py").write_text(FILES["libretto/models/amt.py"] + FILES["libretto/vocab.py"])
    assert hashes(library)["train"] != before["train"]


def test_a_relative_import_cannot_be_followed(library):
    (library / "libretto/training.py").write_text("from .models import amt\n")
    with pytest.raises(ValueError, match=r"training\.py: a relative import; write 'from libretto"):
        hashes(library)


def test_every_script_of_the_workflow_can_be_followed():
    scripts = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
    assert scripts
    assert len({code.code_hash(script) for script in scripts}) == len(scripts)
