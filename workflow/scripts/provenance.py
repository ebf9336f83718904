"""Reads the files of a run, its sources and its code, writes where they came from: crate, config, checksum list."""

import json
from pathlib import Path

import yaml

from libretto.errors import InputError
from libretto.job import start_job
from libretto.provenance.crate import RunCrate, git_commit, locked_versions
from libretto.provenance.records import Records
from libretto.provenance.results import checksum_list, find_results, read_contents, read_records
from libretto.provenance.trace import to_svg, trace

log = start_job(snakemake)
params, lock = snakemake.params, snakemake.input.lock
config_path, folder = snakemake.output.config, Path(snakemake.output.crate).parent
run_folder = folder.parent
Path(config_path).write_text(yaml.safe_dump(params.config, sort_keys=False, allow_unicode=True, width=120))

code = list(snakemake.input.workflow)
results = {path: job for path, job in find_results(run_folder, params.rules).items() if path not in snakemake.output}
# A source that this run did not need is not there; two may be the same files.
sources = {source["path"]: source["pins"] for source in params.sources.values() if Path(source["path"]).exists()}
added = dict.fromkeys([*code, lock, config_path, *sources, *results])
contents = read_contents(added, snakemake.threads)
records = Records(run_folder)
if unknown := [path for path in results if path not in records.made]:
    log.warning("%d results have no record of the job that made them: %s", len(unknown), ", ".join(unknown))
made = {path: record for path in results if (record := records.of(path))}
if changed := [path for path, record in made.items() if contents[path].sha256 != record["outputs"][path]]:
    raise InputError(
        f"{', '.join(changed)}: changed since a job made it, which is not credited with the change. Remove it, and "
        "call snakemake again to have it made again"
    )
kept = [path for path in records.behind(snakemake.input.final) if path.is_relative_to(run_folder)]
contents |= read_contents(kept, snakemake.threads)
Path(snakemake.output.checksums).write_text(checksum_list(contents, run_folder))

crate = RunCrate(params.config["run"], folder, contents)
crate.add_file(code[0], ["SoftwareSourceCode", "ComputationalWorkflow"])
for path in [*code[1:], lock, config_path]:
    crate.add_file(path, ["SoftwareSourceCode"] if Path(path).suffix in {".py", ".smk"} else [])
for path, pins in sources.items():
    crate.add_file(path, **pins)
for path in results:
    if path not in sources:
        crate.add_file(path)
crate.set_workflow(code[0], code, git_commit("."), lock, locked_versions(lock))
tools = {rule["name"]: rule["tool"] for rule in params.rules}
crate.add_jobs(results, made, tools, config_path, sources)
crate.write()
metadata = read_records(".snakemake/metadata")
own = {path: record for path, record in metadata.items() if path.startswith((f"{run_folder}/", params.standins))}
Path(snakemake.output.traces).mkdir()
for system in params.systems:
    figure = to_svg(trace(run_folder / "table.csv", system))
    Path(snakemake.output.traces, f"{system}.svg").write_text(figure)
Path(snakemake.output.metadata).write_text(json.dumps(own, sort_keys=True) + "\n")
