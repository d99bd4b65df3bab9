"""How fast the Trainer's own loop is against bare `fit`, and whether its memory grows.

Run `python -m benchmarks.train` (a table; a quarter of an hour on two cores) or
`python -m benchmarks.train --json`. Leave the machine alone meanwhile.

Speed: `trainer.fitting.fit` with all augmentation on, fed from gzipped TFRecords, against what
anybody would write, `model.fit(images, labels)` of the same network on arrays in memory. Processes
of the one and of the other alternate; each takes a first epoch of one step that is not counted, and
one epoch that is: from the moment at which the loop asks for its data to the end of its last step.
Validation is left out of both.

Memory: the peak resident set of the Trainer's loop with a tiny network, at two sizes of the
training split. The smaller fills the window in which slices wait to be shuffled (200 MB; 1,954
slices of 160 pixels), and has as many more epochs as it has fewer slices: glibc gives freed windows
back slowly, so that a process grows with its first thousands of slices, whatever split they are of.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    from trainer.input import SplitFiles
    from trainer.model import Network
    from trainer.progress import TrainingProgress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

Backbone = Literal["efficientnet-b3", "tiny"]

_HU = (-1000.0, 400.0)
_CENTRE = 0.25
_SEED = 1
_DRAWN_SIZE = 512
_SLICES_A_FILE = 100
_AUGMENTATION: dict[str, Any] = {
    "rotation": 15.0,
    "shift": 0.1,
    "flip": True,
    "pad": 0.1,
    "zoom": 0.1,
    "brightness": 0.1,
    "contrast": 0.1,
}


def _write_split(folder: Path, size: int, files: int, slices: int) -> None:
    """Write what Transform would leave: so many files of so many slices.

    Only the first file is written; the others are links to it, because what is in a slice makes no
    difference to what is measured.
    """
    import tensorflow as tf
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl
    from tensorflow_transform import TFTransformOutput
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from transform import preprocessing
    from transform.ct_example import encode_png16
    from transform.hounsfield import scaled_slices
    from transform.phantom import draw_patient, render_slice

    spec = {
        preprocessing.IMAGE: tf.io.FixedLenFeature([size, size, 1], tf.float32),
        preprocessing.LABEL: tf.io.FixedLenFeature([], tf.int64),
        preprocessing.IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
        preprocessing.PATIENT_ID: tf.io.FixedLenFeature([], tf.string),
    }
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec)),
        str(folder / TFTransformOutput.TRANSFORMED_METADATA_DIR),
    )
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    first = folder / "slices-00000.gz"
    with tf.io.TFRecordWriter(str(first), options) as writer:
        for number in range(slices):
            patient = draw_patient(_SEED, number, "moderate")
            hu = render_slice(patient, number % 4, 4, _DRAWN_SIZE).hu.astype(np.int32)
            (scaled,) = scaled_slices(
                tf.constant([encode_png16((hu + 1024).astype(np.uint16))]),
                tf.constant([1.0]),
                tf.constant([-1024.0]),
                hu_min=_HU[0],
                hu_max=_HU[1],
                size=size,
            )
            example = tf.train.Example()
            features = example.features.feature
            features[preprocessing.IMAGE].float_list.value.extend((scaled - _CENTRE).numpy().flat)
            features[preprocessing.LABEL].int64_list.value.append(number % 2)
            features[preprocessing.IMAGE_ID].bytes_list.value.append(b"slice-%d" % number)
            features[preprocessing.PATIENT_ID].bytes_list.value.append(b"patient-%d" % number)
            writer.write(example.SerializeToString())
    for number in range(1, files):
        (folder / f"slices-{number:05d}.gz").symlink_to(first)


def _open_split(folder: Path) -> SplitFiles:
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl
    from tensorflow_transform import TFTransformOutput

    from trainer.input import SplitFiles

    return SplitFiles([str(folder / "*.gz")], TFTransformOutput(str(folder)))


def _build(backbone: Backbone, size: int) -> Network:
    from pipeline.config import ModelConfig
    from trainer.model import ModelSettings, build_network
    from trainer.weights import resolve_weights

    defaults = ModelConfig(backbone=backbone, weights="none").model_dump()
    known = {field.name for field in dataclasses.fields(ModelSettings)}
    settings = {name: value for name, value in defaults.items() if name in known}
    return build_network(
        ModelSettings(**settings, image_size=size, centre=_CENTRE), resolve_weights("none")
    )


def _trainer_loop(
    files: SplitFiles, backbone: Backbone, size: int, batch: int, epochs: int
) -> float:
    """Slices a second of the last epoch of the Trainer's own loop."""
    import tensorflow as tf

    from pipeline.config import ModelConfig, TrainConfig
    from trainer.augmentation import Augmentation
    from trainer.distribution import make_devices
    from trainer.fitting import FitSettings, fit
    from trainer.input import training_epoch, validation_batches
    from trainer.progress import telling

    devices = make_devices("single")
    tf.config.experimental.enable_op_determinism()
    with devices.scope():
        network = _build(backbone, size)
    steps = sum(files.count_by_label()) // batch
    begun = ended = 0.0

    def training(epoch: int) -> tf.data.Dataset:
        nonlocal begun
        begun = time.perf_counter()
        return training_epoch(
            files,
            epoch=epoch,
            batch_size=batch,
            augmentation=Augmentation(**_AUGMENTATION),
            centre=_CENTRE,
            per_class=None,
            seed=_SEED,
        )

    def listen(progress: TrainingProgress) -> None:
        nonlocal ended
        if progress.step == steps and not progress.finished:
            ended = time.perf_counter()

    defaults = TrainConfig(epochs=epochs, head_epochs=0, early_stopping=0).model_dump()
    defaults["batch_norm"] = ModelConfig().batch_norm
    known = {field.name for field in dataclasses.fields(FitSettings)}
    with telling(listen):
        fit(
            network,
            training=training,
            validation=validation_batches(files, batch).take(1),
            steps=steps,
            class_weight={0: 1.0, 1: 1.0},
            settings=FitSettings(
                **{name: value for name, value in defaults.items() if name in known}
            ),
            devices=devices,
            checkpoints=None,
        )
    return steps * batch / (ended - begun)


def _bare_fit(files: SplitFiles, backbone: Backbone, size: int, batch: int, epochs: int) -> float:
    """Slices a second of the last epoch of `model.fit` on arrays."""
    import tf_keras

    begun = ended = 0.0

    def begin(*_: object) -> None:
        nonlocal begun
        begun = time.perf_counter()

    def end(*_: object) -> None:
        nonlocal ended
        ended = time.perf_counter()

    network = _build(backbone, size)
    network.thaw_backbone("trainable")
    slices = list(files.records().map(files.parse).as_numpy_iterator())
    images, labels = (np.stack(column) for column in zip(*slices, strict=True))
    network.model.compile(
        optimizer=tf_keras.optimizers.AdamW(1e-4),
        loss=tf_keras.losses.BinaryCrossentropy(from_logits=True),
    )
    clock = tf_keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)
    network.model.fit(images, labels, batch_size=batch, epochs=epochs, callbacks=[clock], verbose=0)
    return len(images) / (ended - begun)


def _peak() -> float:
    """Peak resident set of this process, MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(what: str, folder: Path, size: int, batch: int, epochs: int) -> float:
    """The figure that a process was started for."""
    files = _open_split(folder)
    if what == "loop":
        return _trainer_loop(files, "efficientnet-b3", size, batch, epochs)
    if what == "bare":
        return _bare_fit(files, "efficientnet-b3", size, batch, epochs)
    _trainer_loop(files, "tiny", size, batch, epochs)
    return _peak()


def _work_apart(what: str, folder: Path, size: int, batch: int, epochs: int) -> float:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train", "--worker", what),
            *("--folder", str(folder), "--size", str(size), "--batch", str(batch)),
            *("--epochs", str(epochs)),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return float(done.stdout.splitlines()[-1])


def _measure_speed(folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Slices a second of every repetition, of the loop and of bare `fit`."""
    _write_split(folder, arguments.size, arguments.steps, arguments.batch)
    measured: dict[str, list[float]] = {"loop": [], "bare": []}
    for repeat in range(arguments.repeats):
        # Each goes first in turn, so that a machine that grows slower favours neither.
        for what in ("loop", "bare") if repeat % 2 == 0 else ("bare", "loop"):
            speed = _work_apart(what, folder, arguments.size, arguments.batch, epochs=2)
            measured[what].append(speed)
    return measured


def _measure_memory(folder: Path, arguments: argparse.Namespace) -> dict[int, float]:
    """Peak MiB of as many steps over few and over many slices."""
    peaks = {}
    for count in (arguments.few, arguments.many):
        split = folder / str(count)
        _write_split(split, arguments.memory_size, count // _SLICES_A_FILE, _SLICES_A_FILE)
        peaks[count] = _work_apart(
            "memory", split, arguments.memory_size, arguments.batch, arguments.many // count
        )
    return peaks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--size", type=int, default=224, help="side of a slice, pixels")
    parser.add_argument("--batch", type=int, default=16, help="slices a step")
    parser.add_argument("--steps", type=int, default=20, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each; 0 leaves it out")
    parser.add_argument("--memory-size", type=int, default=160, help="side of a slice, pixels")
    parser.add_argument("--few", type=int, default=2000, help="slices, for memory")
    parser.add_argument("--many", type=int, default=20_000, help="the same; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="for the files")
    parser.add_argument("--worker", choices=("loop", "bare", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(
            _work(
                *(arguments.worker, arguments.folder),
                *(arguments.size, arguments.batch, arguments.epochs),
            )
        )
        return

    measured: dict[str, Any] = {"size": arguments.size, "batch": arguments.batch}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.repeats:
            speeds = _measure_speed(Path(name) / "speed", arguments)
            measured["slices_per_second"] = {
                what: [round(one, 2) for one in found] for what, found in speeds.items()
            }
            ratios["trainer_loop_vs_bare_fit"] = round(
                statistics.median(speeds["loop"]) / statistics.median(speeds["bare"]), 3
            )
        if arguments.many:
            peaks = _measure_memory(Path(name), arguments)
            measured["peak_mib"] = {str(count): round(peak) for count, peak in peaks.items()}
            ratios["peak_memory_many_vs_few"] = round(
                peaks[arguments.many] / peaks[arguments.few], 3
            )
    measured["ratios"] = ratios
    if arguments.json:
        print(json.dumps(measured))
        return
    if arguments.repeats:
        print(f"{f'{arguments.size} px, {arguments.batch} a step':<44}{'slices/s':>10}")
        for what, label in (("loop", "the Trainer's loop"), ("bare", "bare fit on arrays")):
            found = measured["slices_per_second"][what]
            print(f"{label:<44}{statistics.median(found):>10.2f}  of {found}")
        print(f"{'ratio':<44}{ratios['trainer_loop_vs_bare_fit']:>10.3f}")
    for count, peak in measured.get("peak_mib", {}).items():
        print(f"{f'peak memory at {count} slices':<44}{peak:>10}  MiB")


if __name__ == "__main__":
    main()
