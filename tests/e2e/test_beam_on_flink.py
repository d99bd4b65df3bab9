"""The Beam steps on a real Flink with two workers: they give what the in-process runner gives."""

import collections
import dataclasses
import json
import logging
import shutil
import socket
import subprocess

import grpc
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv

from components.ct_example_gen.manifest import survey_manifests
from components.ct_example_gen.spans import resolve_manifests
from components.slice_evaluator.evaluation import read_evaluation
from pipeline.config import parse_config
from pipeline.dag import build_pipeline, local_places
from pipeline.ingest_settings import ingest_settings
from pipeline.run_folder.outputs import StepOutputs, open_store
from pipeline.run_folder.workdir import open_workdir
from pipeline.runners.beam_args import IN_PROCESS, check_beam_args
from pipeline.runners.flink_job_server import cached_jar
from pipeline.runners.local_runner import Listener, run_pipeline
from trainer.weights import resolve_weights, weights_without_blessed_model
from transform import preprocessing
from transform.ct_example import EVAL, SPLITS, TRAIN
from transform.phantom import write_cohort

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SERVER_STARTS_IN = 120.0
"""Seconds; on a quiet machine it takes four."""

# What follows the evaluation uses no Beam.
LAST = "SliceEvaluator"


@pytest.fixture(scope="module")
def job_endpoint(tmp_path_factory):
    """The address of a Flink job server of this test's own."""
    if shutil.which("java") is None:
        pytest.skip("java is missing: the Flink job server needs Java 17")
    if not cached_jar().exists():
        pytest.skip("the Flink job server has not been fetched: make flink")
    folder = tmp_path_factory.mktemp("job-server")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [
                *("java", "-jar", str(cached_jar()), "--flink-master=[local]"),
                *(f"--job-port={endpoint.rpartition(':')[2]}", "--artifact-port=0"),
                *("--expansion-port=0", f"--artifacts-dir={folder / 'artifacts'}"),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        with grpc.insecure_channel(endpoint) as channel:
            try:
                grpc.channel_ready_future(channel).result(SERVER_STARTS_IN)
            except grpc.FutureTimeoutError:
                pytest.fail(f"the Flink job server did not start: {log.read_text()[-2000:]}")
        yield endpoint
    finally:
        server.terminate()
        server.wait(60)


@dataclasses.dataclass
class Beamed:
    """What the Beam steps left."""

    outputs: StepOutputs

    def _records(self, step, key, split):
        files = sorted(
            str(file) for file in (self.outputs.folder(step, key) / f"Split-{split}").iterdir()
        )
        return sorted(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())

    def examples(self, split):
        return self._records("CTExampleGen", "examples", split)

    def transformed(self, split):
        # The order of the features in a record is another in every process.
        examples = [
            {name: list(_values(feature)) for name, feature in _features(one).items()}
            for one in self._records("Transform", "transformed_examples", split)
        ]
        return sorted(examples, key=lambda one: one[preprocessing.IMAGE_ID])

    def findings(self):
        """The lines of every file of findings, whose order Beam leaves open."""
        folder = self.outputs.folder("CTExampleGen", "quarantine")
        return {file.name: sorted(file.read_text().splitlines()) for file in folder.iterdir()}

    def statistics(self, split):
        folder = self.outputs.folder("StatisticsGen", "statistics") / f"Split-{split}"
        (datasets,) = tfdv.load_stats_binary(str(folder / "FeatureStats.pb")).datasets
        return datasets

    def evaluation(self):
        return self.outputs.folder(LAST, "evaluation")

    def predictions(self):
        lines = [
            json.loads(line)
            for file in self.evaluation().glob("predictions-*.jsonl")
            for line in file.read_text().splitlines()
        ]
        return sorted(lines, key=lambda one: one["id"])


def _features(record):
    return tf.train.Example.FromString(record).features.feature


def _values(feature):
    return getattr(feature, feature.WhichOneof("kind")).value


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    manifest = write_cohort(folder, patients=24, slices=2, seed=3, severity="severe", size=32)
    with manifest.open("a") as file:
        file.write(manifest.read_text().splitlines()[-1].replace(".dcm", ".missing.dcm") + "\n")
    return manifest


@pytest.fixture(scope="module")
def beam_steps(data, tmp_path_factory):
    """`beam_steps(beam_args)`: all steps up to the evaluation, in a folder of their own."""

    def run(args):
        config = parse_config(
            {
                "name": "tiny",
                "ingest": {"patient_ids": "keep"},
                "split": {"train": 0.5, "eval": 0.25, "test": 0.25},
                "transform": {"image_size": 32},
                "model": {"backbone": "tiny", "weights": "none", "batch_norm_momentum": 0.8},
                "train": {"epochs": 1, "head_epochs": 1, "early_stopping": 0},
                "gate": {"min_sensitivity": 0.0, "min_specificity": 0.0},
                "evaluate": {"resamples": 20},
                "probes": {"slices": 0},
                "beam": {"args": list(args)},
            }
        )
        workdir = open_workdir(tmp_path_factory.mktemp("run"))
        check_beam_args(config, workdir=workdir.root)
        facts = survey_manifests(resolve_manifests(data, config.ingest.span))
        settings = ingest_settings(config, workdir.patient_key)
        pipeline = build_pipeline(
            config,
            local_places(workdir, data, facts, settings),
            resolve_weights(weights_without_blessed_model("none", "tiny")),
            workdir.metadata,
        )
        ended = []

        def begun(*_):
            if LAST in ended:
                raise _Enough

        with pytest.raises(_Enough):
            run_pipeline(pipeline, Listener(begun, lambda step: ended.append(step.name)))
        store = open_store(workdir)
        types = {one.id: one.name.rpartition(".")[2] for one in store.get_execution_types()}
        steps = {types[one.type_id]: one.id for one in store.get_executions()}
        return Beamed(StepOutputs(store, steps))

    return run


class _Enough(Exception):  # noqa: N818 caught where it is raised
    """All Beam steps have ended."""


class _Workers(logging.Handler):
    """Notes which workers were started."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.stopped = set()

    def emit(self, record):
        words = record.getMessage().split()
        if words[:3] == ["Stopping", "thread", "worker"]:
            self.stopped.add(words[3])


@pytest.fixture(scope="module")
def in_process(beam_steps):
    return beam_steps(IN_PROCESS)


@pytest.fixture(scope="module")
def workers():
    return _Workers()


@pytest.fixture(scope="module")
def on_flink(beam_steps, job_endpoint, workers):
    logger = logging.getLogger("apache_beam.runners.worker.worker_pool_main")
    level = logger.level
    logger.addHandler(workers)
    logger.setLevel(logging.INFO)
    try:
        return beam_steps(
            [
                "--runner=PortableRunner",
                f"--job_endpoint={job_endpoint}",
                "--environment_type=LOOPBACK",
                "--parallelism=2",
                "--sdk_worker_parallelism=2",
            ]
        )
    finally:
        logger.removeHandler(workers)
        logger.setLevel(level)


def test_two_workers_do_the_work(on_flink, workers):
    by_job = collections.defaultdict(set)
    for name in workers.stopped:
        job, _, number = name.rpartition("-")
        by_job[job].add(number)
    # A job may end before its second worker has anything to do.
    assert {"1", "2"} in by_job.values()


def test_flink_ingests_the_same_examples_and_findings(in_process, on_flink):
    for split in SPLITS:
        assert on_flink.examples(split) == in_process.examples(split)
        assert on_flink.examples(split)
    findings = on_flink.findings()
    assert findings == in_process.findings()
    assert any("missing_file" in line for line in findings["quarantine.jsonl"])


def test_flink_computes_the_same_statistics(in_process, on_flink):
    for split in SPLITS:
        flink, direct = on_flink.statistics(split), in_process.statistics(split)
        assert flink.num_examples == direct.num_examples > 0
        features = {tuple(one.path.step): one for one in direct.features}
        assert {tuple(one.path.step) for one in flink.features} == set(features)
        for one in flink.features:
            other = features[tuple(one.path.step)]
            assert one.type == other.type
            if one.HasField("num_stats"):
                assert one.num_stats.common_stats == other.num_stats.common_stats
                for number in ("mean", "std_dev", "min", "median", "max"):
                    expected = pytest.approx(getattr(other.num_stats, number), rel=1e-9)
                    assert getattr(one.num_stats, number) == expected, (one.path, number)
            else:
                assert one.string_stats.common_stats == other.string_stats.common_stats
                assert one.string_stats.unique == other.string_stats.unique


def test_flink_transforms_to_the_same_training_data(in_process, on_flink):
    for split in (TRAIN, EVAL):
        assert on_flink.transformed(split) == in_process.transformed(split)
        assert on_flink.transformed(split)


def test_flink_evaluates_to_the_same_figures(in_process, on_flink):
    flink, direct = read_evaluation(on_flink.evaluation()), read_evaluation(in_process.evaluation())
    assert {"sensitivity", "specificity", "auc"} <= set(flink.gate.metrics)
    assert flink.gate == direct.gate
    assert flink == direct
    answers = on_flink.predictions()
    assert len({one["probability"] for one in answers}) > 1
    assert answers == in_process.predictions()
