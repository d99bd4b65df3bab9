import functools
import json

import numpy as np
import pytest
import tensorflow as tf
import tfx.v1 as tfx
from tfx.types import artifact_utils, standard_artifacts

from components.shortcut_probes import artifact as artifacts
from components.shortcut_probes import probes as probing
from components.shortcut_probes.component import ShortcutProbes
from components.shortcut_probes.executor import Executor
from components.shortcut_probes.outcome import (
    BORDER_ONLY,
    FILE_FEATURES,
    LUNGS_BLANKED,
    NO_SOURCE,
    PLAIN,
    PROBES,
    read_probes,
)
from components.shortcut_probes.probes import run_probes
from components.shortcut_probes.slice_table import records
from transform import ct_example, prediction
from transform.ct_example import SliceFacts, StoredSlice, make_example
from transform.errors import BadDataError
from transform.hounsfield import decode_stored
from transform.phantom import draw_patient, render_slice

pytestmark = pytest.mark.slow

SIDE = 64
TEST_PATIENTS, SLICES = 16, 2


class Reader(tf.Module):
    """Says how bright one part of a slice is."""

    def __init__(self, part, middle, scale):
        super().__init__()
        self.part, self.middle, self.scale = part, middle, scale

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples):
        # A batch is never larger than the probes' own.
        with tf.control_dependencies([tf.debugging.assert_less_equal(tf.size(examples), 16)]):
            features = tf.io.parse_example(
                examples,
                {
                    ct_example.IMAGE: tf.io.FixedLenFeature([], tf.string),
                    ct_example.SLOPE: tf.io.FixedLenFeature([], tf.float32),
                    ct_example.INTERCEPT: tf.io.FixedLenFeature([], tf.float32),
                },
            )
        mean = tf.map_fn(
            lambda encoded: tf.reduce_mean(self.part(decode_stored(encoded)[..., 0])),
            features[ct_example.IMAGE],
            fn_output_signature=tf.float32,
        )
        hu = mean * features[ct_example.SLOPE] + features[ct_example.INTERCEPT]
        probability = tf.sigmoid((hu - self.middle) / self.scale)
        return {
            prediction.PROBABILITY: probability,
            prediction.DECISION: tf.cast(probability >= 0.5, tf.int64),
            prediction.THRESHOLD: tf.fill(tf.shape(probability), 0.5),
        }


def corner(stored):
    return stored[0, 0]


def lungs(stored):
    # Most of the rows that lungs are in; the table and the front of the chest are not.
    return stored[22:42, 16:48]


MODELS = {
    "corner": functools.partial(Reader, corner, 0.0, 400.0),
    "lungs": functools.partial(Reader, lungs, -400.0, 100.0),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    @functools.cache
    def exported(name):
        module = MODELS[name]()
        folder = tmp_path_factory.mktemp(name) / "Format-Serving"
        signatures = {prediction.SERVING_DEFAULT: module.serving_default}
        tf.saved_model.save(module, str(folder), signatures=signatures)
        return folder

    return exported


def slice_of(number, index, *, marked, source=""):
    """A slice of a phantom; positive ones may have a bright mark in their corner."""
    patient = draw_patient(11, number, "severe")
    hu = render_slice(patient, index, SLICES, SIDE).hu.astype(np.int32)
    if marked and patient.positive:
        hu[:2, :2] = 1000
    stored = StoredSlice((hu + 1024).astype(np.uint16), 1.0, -1024.0, calibrated=True)
    name = f"{patient.id}-{index}"
    return make_example(stored, SliceFacts(name, patient.id, source, int(patient.positive)))


def write(path, examples):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for one in examples:
            writer.write(one.SerializeToString())


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Folders of examples, by whether positives are marked."""

    @functools.cache
    def written(*, marked):
        folder = tmp_path_factory.mktemp("examples")
        for split, patients in (
            (ct_example.TRAIN, range(100, 110)),
            (ct_example.TEST, range(TEST_PATIENTS)),
        ):
            made = [
                slice_of(number, index, marked=marked)
                for number in patients
                for index in range(SLICES)
            ]
            write(folder / f"Split-{split}" / "part-0.gz", made[::2])
            write(folder / f"Split-{split}" / "part-1.gz", made[1::2])
        return folder

    return written


def files(folder, split):
    return sorted(str(path) for path in (folder / f"Split-{split}").iterdir())


def probe(model_path, folder, slices=300):
    return run_probes(
        str(model_path), files(folder, ct_example.TRAIN), files(folder, ct_example.TEST), slices
    )


def test_a_model_that_looks_at_a_mark_in_the_corner_is_found_out(model, splits):
    results = probe(model("corner"), splits(marked=True))
    assert [one.name for one in results.probes] == list(PROBES)
    assert results.suspicious
    for name in (LUNGS_BLANKED, BORDER_ONLY):
        found = results.probe(name)
        assert found.suspicious
        assert found.auc == pytest.approx(1.0)
        assert "it has learned something else than the lungs" in found.sentence
    assert not results.probe(PLAIN).suspicious
    assert not results.probe(FILE_FEATURES).suspicious
    assert (results.slices, results.without_lungs) == (TEST_PATIENTS * SLICES, 0)
    assert results.probe(PLAIN).patients == TEST_PATIENTS


def test_a_model_that_looks_at_the_lungs_is_not_suspected(model, splits):
    results = probe(model("lungs"), splits(marked=True))
    plain = results.probe(PLAIN)
    assert plain.auc > 0.8
    assert plain.low > 0.7
    for name in (LUNGS_BLANKED, BORDER_ONLY):
        assert not results.probe(name).suspicious
        assert "the model shows no sign of a shortcut" in results.probe(name).sentence
    assert not results.suspicious


def test_a_shortcut_the_wrong_way_round_is_one_too(model, splits, tmp_path):
    marked = splits(marked=True)
    turned = []
    for record in tf.data.TFRecordDataset(
        files(marked, ct_example.TEST), compression_type="GZIP"
    ).as_numpy_iterator():
        one = tf.train.Example.FromString(record)
        label = one.features.feature[ct_example.LABEL].int64_list
        label.value[:] = [1 - label.value[0]]
        turned.append(one)
    write(tmp_path / "Split-test" / "a.gz", turned)
    results = run_probes(str(model("corner")), [], files(tmp_path, ct_example.TEST), 300)
    found = results.probe(BORDER_ONLY)
    assert found.auc == pytest.approx(0.0)
    assert found.suspicious
    assert "the wrong way round" in found.sentence


def test_files_that_tell_the_classes_apart_are_suspicious(model, tmp_path):
    def sourced(patients):
        return [
            slice_of(
                number,
                0,
                marked=False,
                source="clinic" if draw_patient(11, number).positive else "archive",
            )
            for number in patients
        ]

    write(tmp_path / "Split-train" / "a.gz", sourced(range(100, 140)))
    write(tmp_path / "Split-test" / "a.gz", sourced(range(10)))
    results = probe(model("lungs"), tmp_path)
    found = results.probe(FILE_FEATURES)
    assert (found.auc, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.suspicious
    assert "without looking at lungs" in found.sentence
    assert not results.probe(NO_SOURCE).suspicious


def test_slices_without_lungs_are_counted_and_left_out(model, splits, tmp_path):
    whole = [slice_of(number, 0, marked=True) for number in range(10)]
    flat = make_example(
        StoredSlice(np.full((SIDE, SIDE), 1064, np.uint16), 1.0, -1024.0, calibrated=True),
        SliceFacts("flat", "patient-without", label=0),
    )
    write(tmp_path / "Split-test" / "a.gz", [*whole, flat])
    results = run_probes(str(model("corner")), [], files(tmp_path, ct_example.TEST), 300)
    assert (results.slices, results.without_lungs) == (11, 1)
    assert results.probe(LUNGS_BLANKED).slices == 10
    assert results.probe(BORDER_ONLY).slices == 11
    # No training slice, nothing learned.
    assert results.probe(FILE_FEATURES).auc is None


def test_too_few_patients_are_no_ground_for_suspicion(model, tmp_path):
    write(tmp_path / "Split-test" / "a.gz", [slice_of(n, 0, marked=True) for n in range(8)])
    results = run_probes(str(model("corner")), [], files(tmp_path, ct_example.TEST), 300)
    found = results.probe(BORDER_ONLY)
    assert found.auc == 1.0
    assert (found.low, found.high, found.suspicious) == (None, None, False)
    assert "too few patients to say more" in found.sentence


def test_a_test_split_of_one_class_is_said_to_say_nothing(model, tmp_path):
    positive = [n for n in range(20) if draw_patient(11, n).positive]
    write(tmp_path / "Split-test" / "a.gz", [slice_of(n, 0, marked=True) for n in positive])
    results = run_probes(str(model("corner")), [], files(tmp_path, ct_example.TEST), 300)
    assert all(one.auc is None for one in results.probes)
    assert not results.suspicious


def test_a_test_split_without_slices_is_one_line(model, tmp_path):
    write(tmp_path / "Split-test" / "a.gz", [])
    with pytest.raises(BadDataError, match="no labelled slice to probe"):
        run_probes(str(model("corner")), [], files(tmp_path, ct_example.TEST), 300)


def test_no_more_slices_are_asked_about_than_are_wanted(model, splits):
    results = probe(model("corner"), splits(marked=True), slices=12)
    assert results.slices == 12
    assert results.probe(PLAIN).slices == 12


def test_nothing_is_read_on_once_every_wanted_slice_is_found(model, tmp_path, monkeypatch):
    made = [slice_of(number, 0, marked=True) for number in range(12)]
    write(tmp_path / "Split-test" / "a.gz", made)
    test_files = files(tmp_path, ct_example.TEST)

    def unreadable_behind(names):
        def damaged():
            raise OSError("nobody reads as far as this")
            yield b""

        behind = tf.data.Dataset.from_generator(
            damaged, output_signature=tf.TensorSpec([], tf.string)
        )
        return records(names).concatenate(behind)

    monkeypatch.setattr(probing, "records", unreadable_behind)
    assert run_probes(str(model("corner")), [], test_files, 3).slices == 3
    with pytest.raises(tf.errors.OpError, match="nobody reads as far as this"):
        list(unreadable_behind(test_files).as_numpy_iterator())


def test_the_order_of_slices_in_several_files_is_always_the_same(splits):
    some = files(splits(marked=True), ct_example.TEST)
    first, second = (list(records(some).as_numpy_iterator()) for _ in range(2))
    assert first == second
    assert len(first) == TEST_PATIENTS * SLICES


def artifact(artifact_type, folder, artifact_id):
    made = artifact_type()
    made.uri, made.id = str(folder), artifact_id
    return made


def test_the_executor_leaves_what_is_read_back_and_repeats_it(model, splits, tmp_path):
    folder = splits(marked=True)
    examples = artifact(standard_artifacts.Examples, folder, 1)
    examples.split_names = artifact_utils.encode_split_names([ct_example.TRAIN, ct_example.TEST])
    trained = artifact(standard_artifacts.Model, model("corner").parent, 2)
    component = ShortcutProbes(
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        code_version="1",
        slices=20,
    )
    written = []
    for name in ("first", "second"):
        probes = artifact(artifacts.ShortcutProbes, tmp_path / name, 3)
        Executor().Do(
            {"examples": [examples], "model": [trained]},
            {"probes": [probes]},
            component.exec_properties,
        )
        written.append((tmp_path / name / "probes.json").read_bytes())
    assert written[0] == written[1]
    results = read_probes(tmp_path / "first")
    assert results.slices == 20
    assert results.probe(BORDER_ONLY).suspicious
    assert results == probe(model("corner"), folder, slices=20)
    assert json.loads(written[0])["probes"][0]["name"] == PLAIN


def test_no_slice_at_all_cannot_be_asked_for():
    with pytest.raises(ValueError, match="slices must be 1 or more, not 0"):
        ShortcutProbes(
            examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
            model=tfx.dsl.Channel(type=standard_artifacts.Model),
            code_version="1",
            slices=0,
        )
