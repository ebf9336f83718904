"""Where every file of a run came from, as a Workflow Run RO-Crate (https://w3id.org/ro/wfrun/workflow/0.5).

The crate's metadata file lies in a folder of its own, so the files it describes have ids that start with `../`.
"""

import mimetypes
import os
import platform
import subprocess
import tomllib
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rocrate.model.computerlanguage import snakemake as snakemake_language
from rocrate.model.contextentity import ContextEntity
from rocrate.model.data_entity import DataEntity
from rocrate.rocrate import ROCrate

from libretto.provenance.results import Content, Job

WORKFLOW_PROFILE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate"),
    (WORKFLOW_PROFILE, "Workflow RO-Crate"),
)
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"  # defines sha256 and more


def locked_versions(lock: str | Path) -> dict[str, str]:
    """Version by package name, from uv's lock file; the project itself is left out."""
    packages = tomllib.loads(Path(lock).read_text())["package"]
    return {package["name"]: package["version"] for package in packages if "virtual" not in package["source"]}


def git_commit(folder: str | Path) -> str | None:
    """The commit of the checkout, with `-dirty` where tracked files differ from it; None if there is none."""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--match=NeVeR"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


class RunCrate:
    """Builds the crate of one run: the files, the workflow and its software, the jobs; then `write`."""

    def __init__(self, run: str, folder: str | Path, contents: Mapping[str, Content]):
        """A crate without files.

        Args:
            run: its name.
            folder: where the metadata file will lie.
            contents: of every file and folder that will be added.
        """
        self.folder = Path(folder)
        self._contents = contents
        self._entities: dict[str, DataEntity] = {}
        self._crate = ROCrate(version="1.1")
        self._crate.metadata.extra_contexts.append(CONTEXT)
        conforms_to = [self._crate.metadata.profile, WORKFLOW_PROFILE]
        self._crate.metadata["conformsTo"] = [{"@id": profile} for profile in conforms_to]
        root = self._crate.root_dataset
        root["name"] = f"Libretto, run '{run}'"
        root["description"] = (
            "Text to multi-track symbolic music: data, trained models, samples, audio and scores of one run, with the "
            "job that made each file and the SHA-256 of its content."
        )
        root["license"] = self._add(
            "#licences",
            "CreativeWork",
            name="Licences of the sources",
            description="The sources keep their own licences, which bind what was made from them.",
        )
        root["conformsTo"] = [
            self._add(profile, "CreativeWork", name=name, version=profile.rpartition("/")[2])
            for profile, name in PROFILES
        ]

    def _add(self, entity_id: str, kind: str | list[str], **properties) -> ContextEntity:
        return self._crate.add(ContextEntity(self._crate, entity_id, properties={"@type": kind, **properties}))

    def add_file(self, path: str, kinds: Sequence[str] = (), **properties) -> None:
        """Add a file or a folder with its size and digest.

        Args:
            path: a key of `contents`.
            kinds: its types besides that of a file.
            properties: further ones, in the vocabulary of schema.org.
        """
        content = self._contents[path]
        if content.files is None:
            types = ["File", *kinds]
            properties |= {"contentSize": str(content.size)}
            properties["encodingFormat"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        else:
            types = ["Dataset", *kinds]
            properties["description"] = f"{len(content.files)} files, {content.size} bytes"
        properties |= {"@type": types if len(types) > 1 else types[0], "sha256": content.sha256}
        properties.setdefault("name", path)
        identifier = self._identifier(path) + ("" if content.files is None else "/")
        self._entities[path] = self._crate.add(DataEntity(self._crate, identifier, properties=properties))

    def _identifier(self, path: str) -> str:
        """Relative to the crate; a user's own file elsewhere on the machine by its full path."""
        if os.path.isabs(path):
            return Path(path).as_uri()
        return urllib.parse.quote(Path(os.path.relpath(path, self.folder)).as_posix())

    def set_workflow(
        self, snakefile: str, code: Iterable[str], commit: str | None, lock: str, versions: Mapping[str, str]
    ) -> None:
        """Say what ran: the entry, the files it consists of, the commit, and the locked software.

        Args:
            snakefile: the entry; it and `code` have been added.
            code: rules, scripts, library, templates.
            commit: of the checkout; None if there is none.
            lock: the lock file; it has been added.
            versions: by package, of `lock`.
        """
        workflow = self._entities[snakefile]
        language = self._crate.add(snakemake_language(self._crate, version=versions["snakemake"]))
        software = [
            self._add(f"pkg:pypi/{name}@{version}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in sorted(versions.items())
        ]
        python = platform.python_version()
        identifier = f"pkg:generic/python@{python}"
        software.append(self._add(identifier, "SoftwareApplication", name="Python", softwareVersion=python))
        workflow["name"] = "Libretto"
        workflow["programmingLanguage"] = language
        workflow["hasPart"] = [self._entities[path] for path in code if path != snakefile]
        workflow["softwareRequirements"] = [self._entities[lock], *software]
        if commit:
            workflow["version"] = commit
        self._crate.mainEntity = workflow
        self._workflow = workflow

    def add_jobs(
        self,
        results: Mapping[str, Job],
        records: Mapping[str, Mapping],
        tools: Mapping[str, str],
        config: str,
        sources: Iterable[str],
    ) -> None:
        """Add an action for the whole run and one for every job, with what it read and made.

        Args:
            results: of `find_results`; all have been added.
            records: of the jobs, by what they made; a job without one has neither inputs nor times.
            tools: the file that holds the code of each rule.
            config: the resolved config; it has been added.
            sources: paths of those that the run used; all have been added.
        """
        made: dict[Job, list[str]] = {}
        for path, job in results.items():
            made.setdefault(job, []).append(path)
        actions, times = [], []
        for job, paths in sorted(made.items()):
            record = next((records[path] for path in paths if path in records), {})
            inputs = [path for path in record.get("inputs", ()) if path in self._entities]
            host = f" on {record['host']}, commit {record['commit']['id']}" if record else ""
            action = self._add(
                "#job-" + urllib.parse.quote(job.name.replace(" ", "-")),
                "CreateAction",
                name=job.name,
                description=f"A job of the rule {job.rule}{host}",
                instrument=self._entities[tools[job.rule]],
                **self._links(object=inputs, result=paths),
            )
            if record:
                action["startTime"], action["endTime"] = record["started"], record["ended"]
                times += [record["started"], record["ended"]]
            actions.append(action)
        run = self._add(
            "#run",
            "CreateAction",
            name="run",
            description="The whole run of the workflow",
            instrument=self._workflow,
            **self._links(object=[config, *sources], result=results),
        )
        if times:
            run["startTime"], run["endTime"] = min(times), max(times)
        root = self._crate.root_dataset
        root["mentions"] = [run, *actions]
        root["datePublished"] = max(times) if times else _iso(max(os.path.getmtime(path) for path in results))

    def _links(self, **paths: Iterable[str]) -> dict:
        """Properties that name entities: one by itself, several as a list (as RO-Crate requires it), none left out."""
        found = {name: [self._entities[path] for path in named] for name, named in paths.items()}
        return {name: ids if len(ids) > 1 else ids[0] for name, ids in found.items() if ids}

    def write(self) -> None:
        """Write ro-crate-metadata.json into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._crate.metadata.write(self.folder)


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
