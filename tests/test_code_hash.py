"""The content hash of scripts: what counts as a change, what it follows, and what it refuses to follow."""

import ast
import errno
import io
import modulefinder
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from libretto.provenance import code_hash as code
from libretto.shared_files import write_shared
from tests.checkout import ROOT

SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
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


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """An empty folder of what was read from modules before."""
    folder = tmp_path / "modules"
    monkeypatch.setattr(code, "MODULES", folder)
    return folder


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    return use_workflow(tmp_path / "workflow", monkeypatch)


def use_workflow(folder, monkeypatch):
    """Write FILES to `folder`, which is the workflow from then on."""
    for name, content in FILES.items():
        write(folder / name, content)
    monkeypatch.setattr(code, "WORKFLOW", folder)
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())


def forget():
    for function in (code._module, code._imports, code._files):
        function.cache_clear()


def hashes(workflow):
    forget()
    return {path.stem: code.code_hash(path) for path in (workflow / "scripts").iterdir()}


def changed_scripts(workflow, changed, content):
    """The scripts whose hash changes with the content of the file `changed`."""
    before = hashes(workflow)
    write(workflow / changed, content)
    after = hashes(workflow)
    return {script for script in before if before[script] != after[script]}


# What counts as a change


MODULE = '''"""A module."""

import math

SIZE = 1_000


def mean(values: list[float], scale: float = 1.0) -> float:
    """The mean."""
    if not values:
        raise ValueError(f"no values: {values!r}")
    return scale * sum(values) / len(values)  # arithmetic
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # arithmetic", ""),
        ("SIZE =", "# How many.\nSIZE ="),
        ('"""A module."""\n', ""),
        ('"""The mean."""', '"""The arithmetic mean of at least one value."""'),
        ("1_000", "1000"),
        ("SIZE = 1_000", "(SIZE) = (\n    1_000\n)"),
        ('f"no values: {values!r}"', "(f'no values: ' f'{values!r}')"),
        ("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_layout_are_no_change(workflow, old, new):
    write(workflow / "libretto/vocab.py", MODULE)
    assert old in MODULE
    assert changed_scripts(workflow, "libretto/vocab.py", MODULE.replace(old, new)) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1_000", "1_001"),
        ("1_000", "1_000.0"),
        ("scale: float = 1.0", "scale: float = 2.0"),
        ("scale: float", "scale: int"),
        ("scale * sum", "scale + sum"),
        ("if not values", "if values"),
        ("no values: ", "none: "),
        ("!r", "!s"),
        ("len(values)", "len(values[1:])"),
        ("import math", "import cmath"),
        ("def mean", "@staticmethod\ndef mean"),
        ('    """The mean."""\n', '    print("""The mean.""")\n'),
    ],
)
def test_whatever_else_is_a_change(workflow, old, new):
    write(workflow / "libretto/vocab.py", MODULE)
    assert old in MODULE
    assert changed_scripts(workflow, "libretto/vocab.py", MODULE.replace(old, new)) == {"train"}


def test_all_our_code_in_another_layout_and_without_comments_means_the_same(tmp_path, monkeypatch):
    """By the formatter and by Python's own tokenizer."""
    before = code.meaning_hash(sorted(code.WORKFLOW.rglob("*.py")))
    copy = shutil.copytree(code.WORKFLOW, tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    paths = sorted(copy.rglob("*.py"))
    for path in paths:
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        path.write_text(tokenize.untokenize(token for token in tokens if token.type != tokenize.COMMENT))
    ruff = [Path(sys.executable).with_name("ruff"), "format", "--isolated", "--line-length=79", "--quiet", copy]
    subprocess.run(ruff, check=True)
    monkeypatch.setattr(code, "WORKFLOW", copy)
    assert code.meaning_hash(paths) == before
    paths[0].write_text(paths[0].read_text() + "CHANGED = 1\n")
    forget()
    assert code.meaning_hash(paths) != before


def test_versions_of_python_agree(workflow):
    """What 3.11.7, 3.12.1 and 3.13.0 printed; their ast.dump all differ."""
    write(workflow / "libretto/vocab.py", MODULE)
    assert code.meaning_hash([workflow / "libretto/vocab.py"]) == "f1e8a1439c920d08"


def test_a_touch_changes_nothing(workflow):
    before = hashes(workflow)
    for path in workflow.rglob("*.py"):
        os.utime(path)
    assert hashes(workflow) == before


def test_another_place_changes_nothing(workflow, tmp_path, monkeypatch):
    before = hashes(workflow)
    assert hashes(use_workflow(tmp_path / "copy", monkeypatch)) == before


def test_content_that_moves_between_modules_is_a_change(workflow):
    before = hashes(workflow)
    write(workflow / "libretto/models/amt.py", "")
    write(workflow / "libretto/vocab.py", FILES["libretto/models/amt.py"] + FILES["libretto/vocab.py"])
    assert hashes(workflow)["train"] != before["train"]


def test_docstrings_are_read_for_a_help_text_alone():
    """They are left out of the hash: whatever else a script did with them, it would not rerun."""
    used = [line.strip() for path in code.WORKFLOW.rglob("*.py") for line in path.read_text().splitlines()
            if "__doc__" in line]  # fmt: skip
    assert sorted(used) == [
        "parser = argparse.ArgumentParser(description=__doc__)",
        'parser = argparse.ArgumentParser(prog="libretto", description=__doc__)',
    ]


# What it follows


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
def test_a_change_reaches_just_the_scripts_that_import_it(workflow, changed, scripts):
    content = (workflow / changed).read_text()
    assert changed_scripts(workflow, changed, content + "# changed\n") == set()
    assert changed_scripts(workflow, changed, content + "CHANGED = 1\n") == scripts


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import libretto.parts.new", "libretto/parts/new.py"),  # a folder without __init__.py
        ("import libretto.parts.new as name", "libretto/parts/new.py"),
        ("from libretto.parts import new", "libretto/parts/new.py"),
        ("from libretto.parts import new as name", "libretto/parts/new.py"),
        ("from libretto.parts.new import SIZE", "libretto/parts/new.py"),
        ("from libretto.parts.new import SIZE", "libretto/parts/__init__.py"),
        ("import os, libretto.new", "libretto/new.py"),
        ("class Late:\n    def late(self):\n        import libretto.new", "libretto/new.py"),
        ("try:\n    import nothing\nexcept ImportError:\n    from libretto import new", "libretto/new.py"),
        ("if False:\n    from libretto.new import SIZE", "libretto/new.py"),
        ("import new", "scripts/new.py"),  # a script of another
        ("from scripts import new", "scripts/new.py"),
        ("import other", "other.py"),  # beside the library
        ("from other.new import SIZE", "other/new.py"),
    ],
)
def test_every_form_of_import_is_followed(workflow, statement, module):
    write(workflow / "libretto/vocab.py", statement + "\n")
    for path in {"libretto/parts/new.py", module}:
        write(workflow / path, "SIZE = 1\n")
    assert "train" in changed_scripts(workflow, module, "SIZE = 2\n")


def test_installed_packages_are_not_followed(workflow):
    """Their versions are those of uv.lock."""
    write(workflow / "libretto/vocab.py", "import importlib.metadata\nimport yaml\nfrom numpy import linalg\n")
    names = ["scripts/train.py", *(f"libretto/{name}.py" for name in
             ("__init__", "training", "models/__init__", "models/amt", "vocab"))]  # fmt: skip
    assert code.imported_files(workflow / "scripts/train.py") == {workflow / name for name in names}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_python_itself_finds_the_same_modules(script):
    finder = modulefinder.ModuleFinder(path=[str(code.WORKFLOW), str(code.WORKFLOW / "scripts")])
    finder.run_script(str(script))
    found = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    assert code.imported_files(script) == found


def test_every_script_has_a_hash_of_its_own():
    assert len(SCRIPTS) > 20
    assert len({code.code_hash(script) for script in SCRIPTS}) == len(SCRIPTS)


# What is kept between starts


def test_modules_that_were_read_before_are_not_parsed_again(workflow, modules, monkeypatch):
    before = hashes(workflow)
    assert len(list(modules.iterdir())) == len(FILES) - 1  # two are empty
    monkeypatch.setattr(ast, "parse", lambda *args: pytest.fail(f"parsed {args[1]}"))
    assert hashes(workflow) == before
    with pytest.raises(pytest.fail.Exception, match=r"parsed .*vocab"):
        changed_scripts(workflow, "libretto/vocab.py", "VOCAB = 1\n")


@pytest.mark.parametrize("damage", ["", '{"meaning": "Module()", ', '{"meaning": "Module()"}', "null"])
def test_what_is_damaged_is_read_again(workflow, modules, damage):
    before = hashes(workflow)
    for file in modules.iterdir():
        file.write_text(damage)
    assert hashes(workflow) == before
    assert all(len(file.read_text()) > len(damage) for file in modules.iterdir())


@pytest.mark.parametrize("changed", ["Python", "the reader"])
def test_another_version_of_python_or_of_the_reader_reads_again(workflow, modules, monkeypatch, tmp_path, changed):
    hashes(workflow)
    first = set(modules.iterdir())
    if changed == "Python":
        monkeypatch.setattr(sys, "version", "another")
    else:
        (tmp_path / "code_hash.py").write_text(Path(code.__file__).read_text() + "# changed\n")
        monkeypatch.setattr(code, "__file__", str(tmp_path / "code_hash.py"))
    code._reader.cache_clear()
    hashes(workflow)
    code._reader.cache_clear()
    assert len(set(modules.iterdir()) - first) == len(first)


def test_without_a_place_for_it_nothing_is_kept(workflow, monkeypatch, tmp_path):
    before = hashes(workflow)
    (tmp_path / "file").touch()
    monkeypatch.setattr(code, "MODULES", tmp_path / "file" / "modules")
    assert hashes(workflow) == before


def test_what_cannot_be_written_leaves_the_previous_file_and_nothing_else(tmp_path, monkeypatch):
    write_shared(tmp_path / "folder/file", "previous")

    def fail(path, text):
        with path.open("w") as file:
            file.write(text[:2])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="full"):
        write_shared(tmp_path / "folder/file", "next")
    assert [path.read_text() for path in (tmp_path / "folder").iterdir()] == ["previous"]


# What it refuses to follow


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from .models import amt", "a relative import; write 'from libretto...'"),
        ("from . import vocab", "a relative import; write 'from libretto...'"),
        ("from libretto.models import *", "a star import; name what it imports"),
        ("import importlib", "importlib cannot be followed; import code"),
        ("def late():\n    from importlib import import_module", "importlib cannot be followed; import code"),
        ("from importlib.machinery import SourceFileLoader", "importlib.machinery cannot be followed"),
        ("import importlib.util", "importlib.util cannot be followed; import code"),
        ("import runpy", "runpy cannot be followed; import code"),
        ("amt = __import__('libretto.models.amt')", "__import__ cannot be followed; import code"),
        ("exec(open('amt.py').read())", "exec cannot be followed; import code"),
        ("SIZE = eval('1')", "eval cannot be followed; import code"),
        ("CODE = compile('1', 'amt.py', 'eval')", "compile cannot be followed; import code"),
        ("import builtins\n\namt = builtins.eval('1')", "builtins cannot be followed; import code"),
        ("from builtins import eval as late", "builtins cannot be followed; import code"),
        ("amt = __builtins__.__import__('libretto.models.amt')", "__import__ cannot be followed; import code"),
        ("amt = getattr(__builtins__, '__import__')('amt')", "__import__ cannot be followed; import code"),
        ("DATA = open(globals()['__file__']).read()", "__file__ cannot be followed; .*, make data an input"),
        ("import numpy\n\nDATA = open(numpy.__file__).read()", "__file__ cannot be followed; .*, make data an input"),
        ("DATA = open(__spec__.origin).read()", "__spec__ cannot be followed; .*, make data an input"),
        ("DATA = __loader__.get_data('data.csv')", "__loader__ cannot be followed; .*, make data an input"),
        ("import libretto\n\nFOLDER = libretto.__path__[0]", "__path__ cannot be followed; .*, make data an input"),
        ("from libretto import __path__ as folders", "__path__ cannot be followed; .*, make data an input"),
        ("DATA = open(__file__ + '/../data.csv').read()", "__file__ cannot be followed; .*, make data an input"),
        ("from importlib.resources import files", "importlib.resources cannot be followed; import code"),
        ("import pkgutil", "pkgutil cannot be followed; import code"),
    ],
)
def test_code_and_data_that_no_import_names_are_refused(workflow, statement, message):
    write(workflow / "libretto/training.py", statement + "\n")
    for _ in range(2):  # also when what was read from it is known
        with pytest.raises(ValueError, match=rf"libretto/training\.py: {message}"):
            hashes(workflow)


def test_methods_that_share_a_name_with_a_builtin_are_fine(workflow):
    before = hashes(workflow)
    write(workflow / "libretto/training.py", "import re\n\nre.compile('a')\nmodel.eval()\nprint('eval', 'compile')\n")
    assert hashes(workflow)["fold"] == before["fold"]


def test_no_job_reads_a_file_of_the_checkout_by_a_path_of_its_own():
    """Templates and the paper's table are inputs of rules. `__file__` is refused, and this finds literal paths."""
    folders = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = set().union(*map(code.imported_files, SCRIPTS))
    literals = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
    }
    assert len(literals) > 500
    assert "workflow/" in folders
    assert not {text for text in literals if text.startswith(folders)}
