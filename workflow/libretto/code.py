"""A content hash of a script and of the library modules that it imports, so that a change of code reruns its rules.

Snakemake follows a `script:` by mtime and its imports not at all. Rules say `params: code=code("train.py")` instead.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent


def code_hash(script: str | Path) -> str:
    """SHA-256 (first 16 hex digits) over `script` and every `libretto` module that it imports, directly or not."""
    digest = hashlib.sha256()
    for path in sorted(_reachable(Path(script))):
        name = path.relative_to(LIBRARY) if path.is_relative_to(LIBRARY) else Path(path.name)
        content = path.read_bytes()
        digest.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _reachable(script: Path) -> set[Path]:
    seen, queue = set(), [script]
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            queue += _imports(path)
    return seen


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The library's files that one file's import statements name, wherever in the file they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: a relative import; write 'from libretto...' so that it can be followed")
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = set()
    for name in names:
        package, *rest = name.split(".")
        if package == "libretto":
            for depth in range(len(rest) + 1):
                stem = LIBRARY.joinpath(*rest[:depth])
                files |= {f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()}
    return tuple(files)
