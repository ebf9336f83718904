"""Logging of the scripts: to the rule's log file and to stderr, uncaught exceptions and warnings included."""

import logging
import sys
from functools import partial
from pathlib import Path

from libretto.disk import disk_error, full_disk
from libretto.errors import InputError


def start_log(path: str | Path, mode: str = "w") -> logging.Logger:
    """Log to `path` and to stderr from here on.

    An `InputError` that nobody catches ends the script in one line, and so does a disk that is full or read-only.

    Args:
        path: of the log file.
        mode: in which it is opened.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.captureWarnings(True)
    sys.excepthook = partial(_log_uncaught, Path(path).parent)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, mode)
    file.setFormatter(logging.root.handlers[0].formatter)
    logging.root.addHandler(file)
    return logging.getLogger("libretto")


class _LogFile(logging.FileHandler):
    def handleError(self, record):  # a full disk; stderr has the record too
        pass


def _log_uncaught(folder, kind, error, traceback):
    log = logging.getLogger("libretto")
    if issubclass(kind, InputError):
        log.error("%s", error)
    elif issubclass(kind, KeyboardInterrupt):
        log.error("interrupted")
    elif line := disk_error(error, folder):
        log.error("%s", line)
    else:
        summary = " ".join(f"{kind.__name__}: {error}".split())
        log.error("uncaught %s", summary, exc_info=(kind, error, traceback))
        if line := full_disk(folder):  # PyTorch and libsndfile do not say why they could not write
            log.error("%s", line)
