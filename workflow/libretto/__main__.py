"""Audit a run, or trace a result: `python -m libretto audit results/demo`."""

import argparse
import sys
from pathlib import Path

from libretto.errors import InputError
from libretto.provenance.audit import audit
from libretto.provenance.trace import to_svg, to_text, trace


def main() -> int:
    """Run the command of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="libretto", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("audit", help="what of a run is not as its jobs made it; nothing is written")
    checking.add_argument("folder", type=Path, help="of the run, such as results/demo")
    tracing = commands.add_parser("trace", help="where a result came from")
    tracing.add_argument("path", type=Path, help="such as results/demo/table.csv")
    tracing.add_argument("--system", help="follow this row of the table alone")
    tracing.add_argument("--column", help="of the table, whose figure is told")
    tracing.add_argument("--svg", type=Path, help="draw it into this file")
    options = parser.parse_args()
    if options.command == "audit":
        found = audit(options.folder)
        for finding in found:
            print(f"{finding.kind:8} {finding.path}: {finding.text}")
        print(f"{len(found)} findings" if found else "Everything is as the jobs of the run made it.")
        return int(bool(found))
    lines = list(trace(options.path, options.system, options.column))
    if options.svg:
        options.svg.write_text(to_svg(lines))
    else:
        print(to_text(lines), end="")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"Error: {error}")
