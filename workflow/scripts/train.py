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

import torch

from libretto.errors import InputError
from libretto.files import inputs_hash
from libretto.log import start_log
from libretto.models.batches import MiddleChunks, TrainingChunks, load_split
from libretto.models.device import select_device
from libretto.models.variants import base_model, make_variant
from libretto.training.result import write_result
from libretto.training.resume import FINISHED, find_damage, link_tree, locked, remove_all_but_finished
from libretto.training.trainer import train

logger = logging.getLogger("libretto")


def main(args):
    with locked(args.checkpoints) if args.rank == 0 else nullcontext():
        train_or_take_result(args)


def train_or_take_result(args):
    settings = json.loads(args.settings)
    inputs = [path for path in (args.train, args.valid, args.base, args.text_model, args.init_from) if path]
    folder = args.checkpoints / inputs_hash({**settings, "code": args.code}, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / FINISHED
    if finished.exists():
        if args.rank == 0 and (problem := find_damage(finished)):
            raise InputError(f"{finished}: {problem}. Remove {folder} to train from the start")
        logger.info("nothing that this training depends on has changed: its result is taken from %s", finished)
    else:
        logger.info("training in %s", folder)
        log = run_training(args, settings, folder)
        if args.rank == 0:
            write_result(folder, log, with_model=args.model is not None)
    if args.rank == 0:
        if args.model:
            link_tree(finished / "model", args.model)
            link_tree(finished / "tensorboard", args.tensorboard)
        shutil.copyfile(finished / "best.json", args.best)
        shutil.copyfile(finished / "log.parquet", args.history)
        remove_all_but_finished(folder)


def run_training(args, settings, folder):
    """Train, or resume the training; returns the log."""
    variant_settings, text, seed = (settings[key] for key in ("variant", "text", "seed"))
    training = variant_settings["training"]
    if torch.cuda.is_available():
        torch.cuda.set_device(args.local_rank)  # before anything is put on a GPU
    torch.manual_seed(seed)
    model = base_model(variant_settings, args.base, args.text_model, args.init_from)
    variant = make_variant(model, variant_settings, text, args.text_model, select_device())
    cache = str(folder / "splits")
    n_items, dropout = training["max_steps"] * training["batch_size"], text["description_dropout"]
    shuffled = variant_settings["descriptions"] == "shuffled"
    train_set = TrainingChunks(load_split(args.train, cache), n_items, variant.prompter, dropout, seed, shuffled)
    valid_set = MiddleChunks(load_split(args.valid, cache), variant.prompter)
    may_diverge = args.model is None  # in a search, that is a result too
    return train(variant, train_set, valid_set, training, seed, folder, args.checkpoint_minutes, may_diverge)


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
    start_log(arguments.log_file if arguments.rank == 0 else f"{arguments.log_file}.{arguments.rank}")
    main(arguments)
