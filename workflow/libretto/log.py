"""Logging of the scripts: to the rule's log file and to stderr, uncaught exceptions and warnings included."""

import logging
import sys
from pathlib import Path

from libretto.errors import InputError


def start_log(path: str | Path) -> logging.Logger:
    """Log to `path` and to stderr from here on; an `InputError` that nobody catches ends the script in one line.

    Args:
        path: of the log file.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)],
        force=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    return logging.getLogger("libretto")


def _log_uncaught(kind, error, traceback):
    if issubclass(kind, InputError):
        logging.getLogger("libretto").error("%s", error)
    elif issubclass(kind, KeyboardInterrupt):
        logging.getLogger("libretto").error("interrupted")
    else:
        logging.getLogger("libretto").error("uncaught exception", exc_info=(kind, error, traceback))
