"""A hash of what a script and the modules that it imports mean, so that a change of code reruns its rules.

Snakemake follows a `script:` by mtime and its imports not at all. Rules say `params: code=code("train.py")` instead.
What a module means is its syntax tree: comments, docstrings and layout are free to change. The packages that modules
import count with their versions in uv.lock.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from libretto.shared_files import write_shared

WORKFLOW = Path(__file__).parents[2]

# What was read from modules before, by their content: parsing them takes half a second of each start of Snakemake.
MODULES = Path(".snakemake/modules")

# Messages, records, locks, how long imports take: no result depends on them.
ASIDE = {f"libretto/{name}.py" for name in ("errors", "imports", "job", "lock", "log")}
# Packages that move or show bytes and do not make them.
NEUTRAL = {"httpx", "huggingface_hub", "pyarrow", "tqdm"}
# Where a package has another name than its module; and those behind a package that decide results too.
DISTRIBUTIONS = {"fluidsynth": ["pyfluidsynth"], "yaml": ["pyyaml"]}
DISTRIBUTIONS |= {"transformers": ["transformers", "accelerate", "tokenizers"]}
DISTRIBUTIONS |= {"laion_clap": ["laion-clap", "librosa", "torchaudio"]}

# Ways to reach code and data that no import statement names. importlib.metadata is harmless.
DUNDERS = {"__file__", "__import__", "__loader__", "__path__", "__spec__"}  # as names, attributes and strings alike
HIDDEN_NAMES = {*DUNDERS, "compile", "eval", "exec"}  # `re.compile` and `model.eval` are fine
HIDDEN_MODULES = {f"importlib.{name}" for name in ("machinery", "resources", "util")}
HIDDEN_MODULES |= {"builtins", "importlib", "pkgutil", "runpy"}


def code_hash(script: str | Path, texts: Iterable[str] = (), unused: Collection[str] = ()) -> str:
    """SHA-256 (first 16 hex digits) over what decides a script's results, other than its inputs and parameters.

    That is the meaning of the script and of the workflow's modules that it imports, but not of `ASIDE`; the locked
    versions of the packages that they import; and `texts`.

    Args:
        script: its path.
        texts: what else decides, such as environment variables and a shell command.
        unused: modules, such as `libretto/models/amt.py`, that the script imports and this job does not call.

    Raises:
        ValueError: naming a file that reaches code or data in a way that the hash cannot follow.
    """
    files = imported_files(script, {*unused, *ASIDE})
    return meaning_hash(files, [*imported_packages(files), *texts])


def meaning_hash(paths: Iterable[Path], texts: Iterable[str] = ()) -> str:
    """SHA-256 (first 16 hex digits) over the names and the meanings of Python files of the workflow, and over texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}\0{text}".encode())
    for path in sorted(paths):
        name, meaning = path.relative_to(WORKFLOW).as_posix(), _module(path).meaning
        digest.update(f"{name}\0{len(meaning)}\0{meaning}".encode())
    return digest.hexdigest()[:16]


def imported_files(script: str | Path, unused: Collection[str] = ()) -> set[Path]:
    """`script` and the files of the workflow that it imports, directly or not; `unused` ones are not entered."""
    seen, queue = set(), [Path(script)]
    while queue:
        path = queue.pop()
        if path not in seen and path.relative_to(WORKFLOW).as_posix() not in unused:
            seen.add(path)
            queue += _imports(path)[0]
    return seen


def imported_packages(paths: Iterable[Path]) -> list[str]:
    """The packages that files import and that decide results, each as `name==version`, by uv.lock."""
    versions = _locked_versions(WORKFLOW.parent / "uv.lock")
    modules = {module for path in paths for module in _imports(path)[1]} - NEUTRAL
    names = {name for module in modules for name in DISTRIBUTIONS.get(module, [module.replace("_", "-")])}
    return [f"{name}=={versions.get(name)}" for name in sorted(names)]


@cache
def _locked_versions(lock: Path) -> dict[str, str]:
    """As `tomllib` reads them, but at once: the file is read on every call of Snakemake."""
    text = lock.read_text() if lock.exists() else ""
    return dict(re.findall(r'^name = "(.+)"\nversion = "(.+)"', text, re.MULTILINE))


@cache
def _imports(path: Path) -> tuple[tuple[Path, ...], frozenset[str]]:
    """The files of the workflow, and the packages, that one file's import statements name, anywhere in the file."""
    if (refused := _module(path).refused) is not None:
        raise ValueError(f"{path}: {refused}")
    files, packages = set(), set()
    for name in _module(path).imports:
        root, *rest = name.split(".")
        if not _files(WORKFLOW, root):
            packages.add(root)
        for depth in range(len(rest) + 1):
            files.update(_files(WORKFLOW, "/".join([root, *rest[:depth]])))
    return tuple(files), frozenset(packages - sys.stdlib_module_names)


@cache
def _files(workflow: Path, module: str) -> list[Path]:
    """The files of a module, given with slashes: both folders are on the path of a rule's script."""
    stems = (f"{folder}/{module}" for folder in (workflow, workflow / "scripts"))
    return [Path(f) for stem in stems for f in (f"{stem}.py", f"{stem}/__init__.py") if os.path.isfile(f)]


class _Module(NamedTuple):
    meaning: str  # the syntax tree as text, without positions and docstrings
    imports: list[str]  # dotted names
    refused: str | None  # why what it reaches cannot be followed


@cache
def _module(path: Path) -> _Module:
    content = path.read_bytes()
    known = MODULES / hashlib.sha256(_reader() + content).hexdigest()
    with contextlib.suppress(OSError, ValueError, TypeError):  # not there, or not whole
        return _Module(**json.loads(known.read_text()))
    tree = ast.parse(content, str(path))
    module = _Module(_text(tree), *_imported_names(tree))
    with contextlib.suppress(OSError):  # a full disk, say: the next start parses it again
        write_shared(known, json.dumps(module._asdict()))
    return module


@cache
def _reader() -> bytes:
    """What a module is read by: this file and Python's parser."""
    return hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).digest()


def _imported_names(tree: ast.Module) -> tuple[list[str], str | None]:
    """The dotted names of import statements, anywhere in a module; and why what it reaches cannot be followed."""
    names, variables = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                return [], "a relative import; write 'from libretto...' so that it can be followed"
            if node.names[0].name == "*":
                return [], "a star import; name what it imports so that it can be followed"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            variables |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Name):
            variables.add(node.id)
        elif isinstance(node, ast.Attribute):
            variables |= {node.attr} & DUNDERS
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # globals()["__file__"]
            variables |= {node.value} & DUNDERS
    if hidden := sorted(names & HIDDEN_MODULES | variables & HIDDEN_NAMES):
        return [], f"{hidden[0]} cannot be followed; import code by a statement, make data an input of the rule"
    return sorted(names), None


def _text(node) -> str:
    if isinstance(node, ast.AST):
        # Not ast.dump or ast.unparse, whose text depends on the version of Python. Empty fields are left out: those
        # that a new version adds are empty.
        values = vars(node)
        fields = [f"{name}={_text(values[name])}" for name in node._fields if values.get(name) not in (None, [])]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join([_text(item) for item in node if not _is_docstring(item)])}]"
    return repr(node)


def _is_docstring(node) -> bool:
    """Whether this is a statement of a constant alone, which does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
