"""What a request costs through the embedded server, against calling the loaded model.

Run `python -m benchmarks.serving` (a table; ten minutes on two cores) or
`python -m benchmarks.serving --json`. Leave the machine alone meanwhile.

The model is EfficientNetB3 with random weights, exported as training exports it; a request is a PNG
of 512 x 512 pixels, decoded inside the graph on both sides. Bare: a process loads the SavedModel
and calls `predict_image` with one picture, and with 16 at once. Served: `python -m serving` in one
process, clients in another, each a thread that asks about one picture, waits for the answer, and
asks again. Bare and served take turns, so that a machine that grows slower favours neither.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_SIDE = 512
_WINDOW = (-1000.0, 400.0)
_BATCH = 16
_CLIENTS = (1, 8, 32)
_DEADLINE = 120.0


def _pictures(count: int) -> list[bytes]:
    """Synthetic slices as 8-bit PNG."""
    from PIL import Image

    from transform.phantom.patient import draw_patient
    from transform.phantom.render import render_slice

    low, high = _WINDOW
    encoded = []
    for number in range(count):
        hu = render_slice(draw_patient(1, number), 3, 8, _SIDE).hu
        grey = np.clip((hu - low) / (high - low), 0.0, 1.0) * 255.0
        buffer = io.BytesIO()
        Image.fromarray(np.rint(grey).astype(np.uint8)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    return encoded


def _export(folder: Path, version: Path, size: int) -> None:
    """Transform's graph over a handful of slices, and an export as training makes it."""
    import functools

    import apache_beam as beam
    import tensorflow_transform as tft
    import tfx.v1  # noqa: F401 before everything that imports tfx_bsl
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform import beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx_bsl.public import tfxio

    from trainer.export import Decision, ServedModel
    from trainer.model import ModelSettings, build_network
    from trainer.weights import resolve_weights
    from transform import preprocessing
    from transform.ct_example import SliceFacts, StoredSlice, make_example
    from transform.schema import SCHEMA_FILE

    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    source = tfxio.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["benchmark"], schema=schema
    )
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        str(folder / tft.TFTransformOutput.RAW_METADATA_DIR),
    )
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    records = [
        make_example(
            StoredSlice(stored, 1.0, -1024.0, True), SliceFacts(str(number), str(number), label=1)
        ).SerializeToString()
        for number in range(4)
    ]
    config = {"hu_min": _WINDOW[0], "hu_max": _WINDOW[1], "image_size": size, "zero_centre": 0.25}
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary")),
    ):
        data = pipeline | beam.Create(records) | source.BeamSource()
        _ = (
            (data, source.TensorAdapterConfig())
            | tft_beam.AnalyzeDataset(
                functools.partial(preprocessing.preprocessing_fn, custom_config=config)
            )
            | tft_beam.WriteTransformFn(str(folder))
        )
    settings = ModelSettings(
        "efficientnet-b3", "gap", 0.0, "trainable", None, image_size=size, centre=0.25
    )
    network = build_network(settings, resolve_weights("none"))
    ServedModel(network, tft.TFTransformOutput(str(folder)), Decision(1.0, 0.5), _WINDOW).save(
        str(version)
    )


def _bare(version: Path, requests: int) -> dict[str, Any]:
    """Seconds of single calls, and slices a second in batches, of the model in this process."""
    import tensorflow as tf

    from transform import prediction

    predict = tf.saved_model.load(str(version)).signatures[prediction.PREDICT_IMAGE]
    pictures = _pictures(_BATCH)

    def ask(values: list[bytes]) -> None:
        predict(image_bytes=tf.constant(values))[prediction.PROBABILITY].numpy()

    def timed(values: list[bytes]) -> float:
        begun = time.perf_counter()
        ask(values)
        return time.perf_counter() - begun

    for values in (pictures[:1], pictures):
        ask(values)
        ask(values)
    single = [timed([pictures[number % _BATCH]]) for number in range(requests)]
    batches = max(2, requests // _BATCH)
    spent = sum(timed(pictures) for _ in range(batches))
    return {"seconds": single, "slices_per_second": batches * _BATCH / spent}


def _clients(address: str, clients: int, requests: int) -> dict[str, Any]:
    """Seconds of each request, and slices a second, of so many clients of a server."""
    import grpc
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from transform import prediction

    pictures = _pictures(_BATCH)
    seconds: list[float] = []
    each = max(2, requests // clients)

    def request(picture: bytes) -> predict_pb2.PredictRequest:
        asked = predict_pb2.PredictRequest()
        asked.model_spec.name = prediction.MODEL_NAME
        asked.model_spec.signature_name = prediction.PREDICT_IMAGE
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[picture])
        tensor.tensor_shape.dim.add(size=1)
        asked.inputs[prediction.IMAGE_BYTES].CopyFrom(tensor)
        return asked

    asked = [request(picture) for picture in pictures]
    with contextlib.ExitStack() as stack:
        # A connection each, as clients on different machines have.
        stubs = [
            prediction_service_pb2_grpc.PredictionServiceStub(
                stack.enter_context(
                    grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
                )
            )
            for _ in range(clients)
        ]
        for stub in stubs:
            stub.Predict(asked[0], timeout=_DEADLINE)

        def ask(client: int) -> None:
            for number in range(each):
                begun = time.perf_counter()
                stubs[client].Predict(asked[(client + number) % _BATCH], timeout=_DEADLINE)
                seconds.append(time.perf_counter() - begun)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = time.perf_counter() - begun
    if len(seconds) != clients * each:
        raise SystemExit("a client failed")
    return {"seconds": seconds, "slices_per_second": len(seconds) / spent}


@contextlib.contextmanager
def _server(models: Path) -> Iterator[str]:
    """The embedded server in a process of its own; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", str(models), "--port=0", "--no-rest"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def _apart(*arguments: object) -> dict[str, Any]:
    """What a worker of this file says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", "--worker", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as name:
        version = Path(name) / "models" / "1"
        _apart("export", Path(name) / "transform", version, arguments.size)
        measured: dict[str, list[dict[str, Any]]] = {}
        for _ in range(arguments.repeats):
            found = {"bare": _apart("bare", version, arguments.requests)}
            with _server(version.parent) as address:
                for clients in _CLIENTS:
                    found[f"{clients} clients"] = _apart(
                        "clients", address, clients, arguments.requests
                    )
            for what, one in found.items():
                measured.setdefault(what, []).append(one)
    return measured


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over the repetitions."""

    def median(of: Callable[[dict[str, Any]], float]) -> float:
        return float(statistics.median(of(run) for run in runs))

    return {
        "p50_ms": round(1000 * median(lambda run: float(np.percentile(run["seconds"], 50))), 1),
        "p99_ms": round(1000 * median(lambda run: float(np.percentile(run["seconds"], 99))), 1),
        "slices_per_second": round(median(lambda run: run["slices_per_second"]), 2),
    }


def _work(what: str, *arguments: str) -> dict[str, Any]:
    if what == "export":
        _export(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
        return {}
    if what == "bare":
        return _bare(Path(arguments[0]), int(arguments[1]))
    return _clients(arguments[0], int(arguments[1]), int(arguments[2]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--size", type=int, default=224, help="side of the model's input, pixels")
    parser.add_argument("--requests", type=int, default=96, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="turns of bare and served")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_work(*arguments.worker)))
        return
    found = {what: _summary(runs) for what, runs in _measure(arguments).items()}
    ratios = {
        "p50_of_1_client_vs_bare": round(found["1 clients"]["p50_ms"] / found["bare"]["p50_ms"], 3),
        "throughput_of_32_clients_vs_bare_batches": round(
            found["32 clients"]["slices_per_second"] / found["bare"]["slices_per_second"], 3
        ),
    }
    if arguments.json:
        print(json.dumps({"size": arguments.size, **found, "ratios": ratios}))
        return
    title = f"{arguments.size} px, PNG of {_SIDE} x {_SIDE}"
    print(f"{title:<32}{'p50 ms':>10}{'p99 ms':>10}{'slices/s':>10}")
    for what, one in found.items():
        label = f"bare (slices/s in batches of {_BATCH})" if what == "bare" else what
        print(f"{label:<32}{one['p50_ms']:>10}{one['p99_ms']:>10}{one['slices_per_second']:>10}")
    for name, value in ratios.items():
        print(f"{name.replace('_', ' '):<48}{value:>6}")


if __name__ == "__main__":
    main()
