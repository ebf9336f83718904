"""The lock file, the conda environments and this Python are in step."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml

from libretto.provenance.code_hash import imported_files
from tests.checkout import ROOT, copy_checkout

LOCKED = ["uv.lock", "envs/uv.txt", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("envs/*.yaml"))]


def test_locking_again_changes_nothing(tmp_path):
    """uv needs the network only to choose versions, so that a requirement which is not in the lock fails here."""
    checkout = copy_checkout(tmp_path)
    (checkout / ".venv").symlink_to(sys.prefix)
    subprocess.run(["make", "lock"], cwd=checkout, env={**os.environ, "UV_OFFLINE": "1"}, check=True)
    for name in LOCKED:
        assert (checkout / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_documentation_installs_the_same_snakemake():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["workflow"]
    assert f"pip install {' '.join(packages)} huggingface-hub\n" in (ROOT / "docs/full-run.md").read_text()


def test_lock_names_no_index_but_pypi():
    hosts = set(re.findall(r'https?://[^/"]+', (ROOT / "uv.lock").read_text()))
    assert hosts == {"https://pypi.org", "https://files.pythonhosted.org"}


def test_this_environment_is_the_lock():
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": sys.prefix, "UV_OFFLINE": "1"}
    subprocess.run([f"{sys.prefix}/bin/uv", "sync", "--frozen", "--check", "--inexact"], cwd=ROOT, env=env, check=True)


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def conda_packages(stage):
    """The names of the packages that pip installs in a stage's conda environment."""
    dependencies = yaml.safe_load((ROOT / "envs" / f"{stage}.yaml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return {pin.split("==")[0] for pin in pip}


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
    modules = set()
    for path in imported_files(ROOT / "workflow" / "scripts" / script):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    modules -= set(sys.stdlib_module_names) | {"libretto"}
    distributions, packages = packages_distributions(), conda_packages(stage)
    missing = {m for m in modules if not {normalised(d) for d in distributions.get(m, [m])} & packages}
    assert not missing, (
        f"{script} imports {missing}, which envs/{stage}.yaml lacks: add them to pyproject.toml and call make lock"
    )
