import base64
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.report_gen import slice_pictures
from components.report_gen.slice_pictures import MOST_BYTES, SIDE, draw_slices
from transform import ct_example, prediction
from transform.ct_example import SliceFacts, StoredSlice, make_example

WINDOW = (-1000.0, 400.0)


class Model(tf.Module):
    """Says that everything is positive, for what lies in the upper left corner."""

    def _answer(self, examples):
        ones = tf.ones(tf.shape(examples))
        return {
            prediction.PROBABILITY: ones,
            prediction.DECISION: tf.ones(tf.shape(examples), tf.int64),
            prediction.THRESHOLD: 0.5 * ones,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def serving_default(self, examples):
        return self._answer(examples)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, prediction.EXAMPLES)])
    def explain(self, examples):
        ids = tf.io.parse_example(
            examples, {ct_example.IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}
        )[ct_example.IMAGE_ID]
        heat = tf.cast(~tf.strings.regex_full_match(ids, "silent.*"), tf.float32)
        corner = tf.pad(tf.ones([8, 8]), [[0, 24], [0, 24]])
        heatmap = heat[:, tf.newaxis, tf.newaxis] * corner
        return {**self._answer(examples), prediction.HEATMAP: heatmap}


def save_model(folder, *, explains):
    model = Model()
    signatures = {prediction.SERVING_DEFAULT: model.serving_default}
    if explains:
        signatures[prediction.EXPLAIN] = model.explain
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("explains"), explains=True)


@pytest.fixture(scope="module")
def silent_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("silent"), explains=False)


def example_of(name, stored, *, calibrated=True, slope=1.0, intercept=-1024.0):
    one = StoredSlice(stored.astype(np.uint16), slope, intercept, calibrated)
    return make_example(one, SliceFacts(image_id=name, patient_id="p", label=1), statistics={})


def write(path, examples):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for one in examples:
            writer.write(one.SerializeToString())
    return [str(path)]


def noise(side):
    return np.random.default_rng(0).integers(0, 1500, (side, side))


def picture_of(source):
    head, _, content = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.fixture
def files(tmp_path):
    flat = np.full((40, 60), 424)
    return write(
        tmp_path / "slices.gz",
        [
            example_of("first", flat),
            example_of("silent", flat),
            example_of("large", noise(700)),
            example_of("picture", np.full((40, 40), 255), calibrated=False, slope=1400 / 255),
        ],
    )


def test_a_model_that_explains_has_its_evidence_laid_over_the_slice(files, model):
    drawn = draw_slices(["first"], files, model, WINDOW)
    assert drawn.remarks == []
    assert drawn.by_id["first"].explained
    pixels = picture_of(drawn.by_id["first"].source).astype(int)
    assert pixels.shape == (40, 60, 3)
    # The corner is coloured, the rest as grey as -600 HU are in a lung window.
    assert np.ptp(pixels[3, 3]) > 40
    assert np.ptp(pixels[30, 50]) < 12
    assert abs(pixels[30, 50].mean() - 127.5) < 6


def test_a_slice_of_which_nothing_speaks_for_the_disease_is_shown_as_it_is(files, model):
    drawn = draw_slices(["silent"], files, model, WINDOW).by_id["silent"]
    assert drawn.explained
    assert drawn.silent
    assert np.ptp(picture_of(drawn.source).astype(int), axis=-1).max() < 12


def test_pictures_stay_small(files, model):
    drawn = draw_slices(["large"], files, model, WINDOW).by_id["large"]
    assert picture_of(drawn.source).shape == (SIDE, SIDE, 3)
    assert len(drawn.source) < 4 / 3 * MOST_BYTES + 100


def test_a_picture_without_hounsfield_units_looks_as_it_did(files, silent_model):
    # In a lung window white would be as white, but grey would not be as grey.
    examples = [example_of("grey", np.full((40, 40), 100), calibrated=False, slope=1400 / 255)]
    examples[0].features.feature[ct_example.INTERCEPT].float_list.value[:] = [-1000.0]
    path = files[0] + ".more"
    drawn = draw_slices(["grey"], write(path, examples), silent_model, WINDOW).by_id["grey"]
    assert abs(int(picture_of(drawn.source)[20, 20].mean()) - 100) <= 2


def test_a_model_that_cannot_explain_is_said_once_and_slices_are_shown_plain(files, silent_model):
    drawn = draw_slices(["first", "large"], files, silent_model, WINDOW)
    assert drawn.remarks == [
        "The model has no signature 'explain': the slices are shown without overlays."
    ]
    assert all(one.source and not one.explained for one in drawn.by_id.values())


def test_a_model_that_cannot_be_loaded_leaves_the_slices(files, tmp_path):
    drawn = draw_slices(["first"], files, str(tmp_path / "nowhere"), WINDOW)
    (remark,) = drawn.remarks
    assert remark.startswith("The model could not be loaded to explain slices")
    assert drawn.by_id["first"].source


def test_a_slice_that_cannot_be_decoded_is_named_and_the_others_are_drawn(tmp_path, model):
    broken = example_of("broken", np.full((40, 40), 1))
    broken.features.feature[ct_example.IMAGE].bytes_list.value[:] = [b"no picture"]
    files = write(tmp_path / "slices.gz", [broken, example_of("whole", np.full((40, 40), 1))])
    drawn = draw_slices(["broken", "whole", "lost"], files, model, WINDOW)
    assert drawn.by_id["broken"].source is None
    assert drawn.by_id["whole"].explained
    broken_remark, lost_remark = drawn.remarks
    assert broken_remark.startswith("Not drawn, or without an overlay (broken): ")
    assert lost_remark == "Not found in the test split's files: lost."


def test_a_damaged_file_is_said_and_stops_nothing(tmp_path, model):
    (tmp_path / "slices.gz").write_bytes(b"no records")
    drawn = draw_slices(["first"], [str(tmp_path / "slices.gz")], model, WINDOW)
    assert drawn.by_id == {}
    assert drawn.remarks[0].startswith("The test split could not be read to its end")


def test_the_files_are_read_no_further_than_needed(tmp_path, model):
    # What comes after the first file would fail.
    first = write(tmp_path / "a.gz", [example_of("first", np.full((40, 40), 1))])
    (tmp_path / "b.gz").write_bytes(b"no records")
    drawn = draw_slices(["first"], [*first, str(tmp_path / "b.gz")], model, WINDOW)
    assert drawn.remarks == []


def test_slices_are_found_in_whichever_file_they_are(tmp_path, model):
    names = [f"slice-{n:02d}" for n in range(40)]
    files = [
        path
        for n in range(20)
        for path in write(
            tmp_path / f"{n:02d}.gz",
            [example_of(one, np.full((8, 8), n)) for one in names[2 * n : 2 * n + 2]],
        )
    ]
    drawn = draw_slices(["slice-39", "slice-02", "slice-21"], files, model, WINDOW)
    assert drawn.remarks == []
    assert list(drawn.by_id) == ["slice-02", "slice-21", "slice-39"]


@pytest.mark.parametrize("error", [IndexError, AttributeError, RuntimeError("out of\nmemory")])
def test_no_failure_of_drawing_fails_the_report(files, model, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(slice_pictures, "blend", fail)
    drawn = draw_slices(["first"], files, model, WINDOW)
    assert drawn.by_id["first"].source
    assert not drawn.by_id["first"].explained
    (remark,) = drawn.remarks
    assert remark.startswith("Not drawn, or without an overlay (first): ")
    assert remark.endswith("out of memory." if isinstance(error, Exception) else "Error.")


def test_where_there_is_nothing_to_draw_nothing_is_loaded(tmp_path):
    assert draw_slices([], [], str(tmp_path / "nowhere"), None).remarks == []
