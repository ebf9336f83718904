"""Seeds that depend on names and positions alone, so that every random draw can be repeated on its own."""

import hashlib


def stable_seed(*parts: str | int) -> int:
    """A seed in 0..2**63-1 from `parts`, the same in every process and on every machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
