"""Which parts of the training recipe help, on real data, and by how much more than luck.

    python -m benchmarks.recipe --data manifest.csv --weights efficientnetb3_notop.h5 --workdir W

trains every row once per seed with the Trainer's own `run_fn`, prints a table in Markdown, and does
only what is missing when it is started again. `manifest.csv` is what `ctnet prepare covid-ct`
writes. The first row is base.yaml but for the number of epochs, which is the same for all rows; the
others are that with the changes they name (study.py). configs/covid_ct.yaml is the row that was
chosen.

Everything in the table is of the validation split. `--test ROW` asks the trainings of one row about
the test split, so that it is read once per seed, of the recipe that was chosen.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.recipe import answers, tables, training
from benchmarks.recipe.study import ROWS, Study


def main() -> None:
    """Train what is missing, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the manifest")
    parser.add_argument("--weights", required=True, help="of the backbone: a file, or imagenet")
    parser.add_argument("--workdir", type=Path, required=True, help="for everything that is made")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12, help="of fine-tuning")
    parser.add_argument("--image-size", type=int, default=224, help="side of a slice, pixels")
    parser.add_argument("--test", choices=ROWS, metavar="ROW", help="read the test split, of ROW")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    study = Study(
        arguments.data, arguments.weights, arguments.workdir, arguments.epochs, arguments.image_size
    )
    if arguments.one:
        training.train(study, arguments.one, arguments.seeds[0])
        return
    training.ingest(study)
    for row in [arguments.test] if arguments.test else arguments.rows:
        for seed in arguments.seeds:
            training.train_apart(study, row, seed)
            answers.ask_of_validation(study, row, seed)
    if arguments.test:
        tables.print_test(study, arguments.test, arguments.seeds)
    else:
        tables.print_validation(study, arguments.rows, arguments.seeds)


if __name__ == "__main__":
    main()
