"""The lock file, the conda environments and this Python are in step."""

import ast
import importlib.util
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"

spec = importlib.util.spec_from_file_location("lock", ENVS / "lock.py")
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)

PINS = lock.pins((ENVS / "requirements.lock").read_text())


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def conda_pins(stage):
    dependencies = yaml.safe_load((ENVS / f"{stage}.yaml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return dict(pin.split("==") for pin in pip), [entry for entry in dependencies if isinstance(entry, str)]


def test_requirements_are_locked():
    names = re.findall(r"^([A-Za-z0-9_.-]+)", (ENVS / "requirements.in").read_text(), flags=re.MULTILINE)
    assert len(names) > 20
    assert {normalised(name) for name in names} <= set(PINS)


def test_this_environment_is_the_lock():
    wrong = {}
    for name, pin in PINS.items():
        try:
            if version(name) != pin and not version(name).startswith(f"{pin}+"):
                wrong[name] = version(name)
        except PackageNotFoundError:
            wrong[name] = "missing"
    assert not wrong


@pytest.mark.parametrize("stage", lock.STAGES)
def test_conda_environment_has_the_locks_pins(stage):
    pins, others = conda_pins(stage)
    assert "python=3.11" in others
    assert pins.items() <= PINS.items()
    packages, from_conda = lock.STAGES[stage]
    assert {normalised(name) for name in packages} <= set(pins)
    assert set(from_conda) <= set(others)


def scripts_by_stage():
    """(stage, script) for each rule that names a conda environment and a script or a Python file in its shell."""
    for rules in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"^(?:rule|checkpoint) ", rules.read_text(), flags=re.MULTILINE)[1:]:
            stage = re.search(r"envs/(\w+)\.yaml", block)
            script = re.search(r"(?:scripts|LIBRETTO_SCRIPTS)/(\w+\.py)", block)
            if stage and script:
                yield stage[1], script[1]


@pytest.mark.parametrize(("stage", "script"), sorted(set(scripts_by_stage())))
def test_conda_environment_has_what_its_scripts_import(stage, script):
    sys.path.insert(0, str(ROOT / "workflow"))
    from libretto.provenance.code_hash import imported_files

    modules = set()
    for path in imported_files(ROOT / "workflow" / "scripts" / script):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    modules -= set(sys.stdlib_module_names) | {"libretto"}
    distributions = packages_distributions()
    pins, _ = conda_pins(stage)
    missing = {m for m in modules if not {normalised(d) for d in distributions.get(m, [m])} & set(pins)}
    assert not missing, (
        f"{script} imports {missing}, which envs/{stage}.yaml lacks: add them to envs/lock.py and call make lock"
    )
