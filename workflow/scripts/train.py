"""Reads a base model and the training and validation splits, finetunes it, writes the best model by validation loss.

Started by torchrun, or by itself on one GPU: see rule `train`. An interrupted training resumes when it is called again,
and the result of a finished one is taken from its folder.
"""

import argparse
import json
import logging
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

from libretto.errors import InputError
from libretto.files import inputs_hash
from libretto.imports import lean_imports
from libretto.job import Job, start_job
from libretto.lock import locked
from libretto.log import start_log
from libretto.training.resume import FINISHED, find_damage, link_tree, remove_all_but_finished

logger = logging.getLogger("libretto")


def main(args):
    with locked(args.checkpoints) if args.rank == 0 else nullcontext():
        train_or_take_result(args)


def train_or_take_result(args):
    settings = json.loads(args.settings)
    folder = args.checkpoints / inputs_hash({**settings, "code": args.code}, inputs_of(args))
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / FINISHED
    if args.rank == 0:
        args.job.first = finished / "record.json"
    if finished.exists():
        if args.rank == 0 and (problem := find_damage(finished)):
            raise InputError(f"{finished}: {problem}. Remove {folder} to train from the start")
        logger.info("nothing that this training depends on has changed: its result is taken from %s", finished)
    else:
        # These take seconds: a training that is refused, or has been done, should not wait for them.
        with lean_imports():
            import torch

            from libretto.training.result import write_result
            from libretto.training.variant import train_variant

        logger.info("training in %s", folder)
        # Before anything is put on a GPU.
        if torch.cuda.is_available():
            torch.cuda.set_device(args.local_rank)
        models = args.base, args.text_model, args.init_from
        log = train_variant(
            settings, args.train, args.valid, *models, folder, args.checkpoint_minutes, args.model is None
        )
        if args.rank == 0:
            write_result(folder, log, with_model=args.model is not None)
    if args.rank == 0:
        if args.model:
            link_tree(finished / "model", args.model)
            link_tree(finished / "tensorboard", args.tensorboard)
        shutil.copyfile(finished / "best.json", args.best)
        shutil.copyfile(finished / "log.parquet", args.history)
        remove_all_but_finished(folder)


def inputs_of(args):
    return [path for path in (args.train, args.valid, args.base, args.text_model, args.init_from) if path]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON: the config's variant, text and seed")
    parser.add_argument("--code", required=True, help="content hash of this script and its modules")
    for name in ("train", "valid"):
        parser.add_argument(f"--{name}", required=True, help="Parquet split")
    parser.add_argument("--base", required=True, help="folder of the pretrained model")
    parser.add_argument("--text-model", required=True, help="folder of the Llama that reads the text")
    parser.add_argument("--init-from", help="folder of the AMT checkpoint whose embedding is copied")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for resuming and for the result")
    parser.add_argument("--checkpoint-minutes", type=float, required=True, help="between two checkpoints, at least")
    for name in ("model", "tensorboard"):
        parser.add_argument(f"--{name}", type=Path, help="folder to write at the end; left out in a search")
    for name in ("best", "history"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="file to write at the end")
    parser.add_argument("--log-file", required=True, help="file to log to")
    arguments = parser.parse_args()
    arguments.rank, arguments.local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    if arguments.rank == 0:
        outputs = (arguments.model, arguments.tensorboard, arguments.best, arguments.history)
        params = {"settings": json.loads(arguments.settings), "code": arguments.code}
        rule = arguments.log_file.rpartition("logs/")[2].partition("/")[0]
        results = [str(path) for path in outputs if path]
        arguments.job = Job(rule, [arguments.log_file], inputs_of(arguments), results, params)
        start_job(arguments.job)
    else:
        start_log(f"{arguments.log_file}.{arguments.rank}")
    main(arguments)
