"""The exported SavedModel against the model in memory, Transform, and ingestion."""

import functools
import io
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from trainer.export import Decision, ServedModel
from trainer.flip_average import flip_averaged
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights
from transform import prediction, preprocessing
from transform.ct_example import (
    EVAL,
    IMAGE,
    INTERCEPT,
    SLOPE,
    TRAIN,
    SliceFacts,
    StoredSlice,
    encode_png16,
    make_example,
)
from transform.errors import StorageError
from transform.reading import read_slice

pytestmark = pytest.mark.slow

WINDOW = (-1000.0, 400.0)
TEMPERATURE = 0.4


@pytest.fixture(scope="module")
def network(study):
    tf_keras.utils.set_random_seed(11)
    network = build_network(
        ModelSettings(
            backbone="tiny",
            head="gap",
            dropout=0.5,
            batch_norm="trainable",
            batch_norm_momentum=0.5,
            image_size=32,
            centre=study.centre,
        ),
        BackboneWeights(None, "none"),
    )
    # BatchNorm averages of real slices, so that training and inference mode differ.
    network.model(images(study, TRAIN), training=True)
    # Logits on both sides of 0, far enough apart to tell temperatures.
    logit = network.model.layers[-1]
    logit.kernel.assign(20.0 * logit.kernel)
    logits = network.model(images(study, EVAL), training=False)
    logit.bias.assign([-float(tf.reduce_mean(logits))])
    return network


def images(study, split):
    return np.stack([one[preprocessing.IMAGE] for one in study.parsed(split).values()])


def raw_in_order_of(study, split):
    """The raw examples in the order of the transformed ones."""
    by_id = {}
    for record in study.raw[split]:
        features = tf.train.Example.FromString(record).features.feature
        by_id[features["image/id"].bytes_list.value[0].decode()] = record
    return tf.constant([by_id[image_id] for image_id in study.parsed(split)])


@pytest.fixture(scope="module")
def in_memory(network, study):
    """Calibrated probabilities of the validation slices, by the model in memory."""
    logits = network.model(images(study, EVAL), training=False).numpy()[:, 0]
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64) / TEMPERATURE))


@pytest.fixture(scope="module")
def threshold(in_memory):
    """Midway between two slices, so that both decisions occur."""
    ranked = np.sort(in_memory)
    return float((ranked[4] + ranked[5]) / 2.0)


@pytest.fixture(scope="module")
def served(network, study, threshold):
    return ServedModel(network, study.transform, Decision(TEMPERATURE, threshold), WINDOW)


@pytest.fixture(scope="module")
def exported(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    served.save(str(folder))
    return tf.saved_model.load(str(folder)).signatures


def answers(exported, examples):
    return {
        name: value.numpy()
        for name, value in exported[prediction.SERVING_DEFAULT](
            examples=tf.constant(examples)
        ).items()
    }


def test_the_export_predicts_what_the_model_in_memory_predicts_calibrated(
    exported, study, in_memory
):
    found = answers(exported, raw_in_order_of(study, EVAL))
    assert np.ptp(in_memory) > 0.05
    np.testing.assert_allclose(found[prediction.PROBABILITY], in_memory, atol=1e-5)


def test_the_export_decides_at_the_stored_threshold(exported, study, in_memory, threshold):
    found = answers(exported, raw_in_order_of(study, EVAL))
    np.testing.assert_allclose(found[prediction.THRESHOLD], threshold, atol=1e-6)
    np.testing.assert_array_equal(found[prediction.DECISION], in_memory >= threshold)
    assert found[prediction.DECISION].sum() == 7


def test_a_flip_averaged_export_predicts_what_slice_and_mirror_image_give_in_memory(
    network, study, tmp_path
):
    """The mean of the two logits, through serialised CT examples, calibrated and decided."""
    averaged = flip_averaged(network.model)
    shown = images(study, EVAL)
    each = [
        network.model(one, training=False).numpy()[:, 0].astype(np.float64)
        for one in (shown, shown[:, :, ::-1])
    ]
    logits = averaged(shown, training=False).numpy()[:, 0]
    np.testing.assert_allclose(logits, np.mean(each, axis=0), atol=1e-5)
    # Without averaging the answer would be another.
    assert np.abs(each[0] - logits).max() > 1e-3
    in_memory = 1.0 / (1.0 + np.exp(-np.mean(each, axis=0) / TEMPERATURE))
    threshold = float(np.sort(in_memory)[4:6].mean())
    ServedModel(
        network, study.transform, Decision(TEMPERATURE, threshold), WINDOW, flip_average=True
    ).save(str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model")).signatures
    found = answers(loaded, raw_in_order_of(study, EVAL))
    np.testing.assert_allclose(found[prediction.PROBABILITY], in_memory, atol=1e-5)
    np.testing.assert_array_equal(found[prediction.DECISION], in_memory >= threshold)


def test_an_export_takes_the_place_of_an_older_one_and_leaves_nothing_beside_it(
    served, exported, tmp_path
):
    folder = tmp_path / "model"
    for place in (folder, tmp_path / "model.unfinished"):
        place.mkdir()
        (place / "old").touch()
    served.save(str(folder))
    assert [one.name for one in tmp_path.iterdir()] == ["model"]
    assert not (folder / "old").exists()
    assert tf.saved_model.contains_saved_model(str(folder))


def test_an_export_that_the_disk_cannot_hold_is_one_line_and_leaves_no_half_model(
    served, exported, tmp_path, files_of_at_most
):
    folder = tmp_path / "model"
    with (
        files_of_at_most(4096),
        pytest.raises(StorageError, match=r"the model cannot be written to .*make room") as raised,
    ):
        served.save(str(folder))
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "{{" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("split", [TRAIN, EVAL])
def test_training_and_serving_share_one_preprocessing(exported, study, split):
    """What Transform wrote for training, and what the export makes of the same raw slices."""
    found = exported[prediction.TRANSFORM_FEATURES](examples=raw_in_order_of(study, split))
    np.testing.assert_array_equal(found[preprocessing.IMAGE].numpy(), images(study, split))


def picture(mode, file_format, size=(40, 28)):
    """A picture with all grey levels, encoded."""
    generator = np.random.default_rng(9)
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    if mode == "I;16":
        one = Image.fromarray(generator.integers(0, 65536, shape).astype(np.uint16))
    else:
        smooth = np.linspace(0, 255, size[0])[:, None] if mode == "RGB" else np.linspace(0, 255, 40)
        noisy = np.broadcast_to(smooth, shape) + generator.normal(0, 20, shape)
        one = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    one.save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "PNG"), ("RGB", "PNG"), ("I;16", "PNG"), ("L", "JPEG"), ("RGB", "JPEG")],
)
def test_a_picture_asked_about_is_answered_as_the_same_picture_ingested(
    exported, tmp_path, mode, file_format
):
    encoded = picture(mode, file_format)
    path = tmp_path / "slice"
    path.write_bytes(encoded)
    example = make_example(read_slice(path, WINDOW), SliceFacts("slice"))
    ingested = answers(exported, [example.SerializeToString()])
    asked = exported[prediction.PREDICT_IMAGE](image_bytes=tf.constant([encoded]))
    # Near 0 or 1 pictures would be told apart no more.
    assert 0.02 < ingested[prediction.PROBABILITY][0] < 0.98
    for name, value in ingested.items():
        np.testing.assert_allclose(asked[name].numpy(), value, atol=1e-6)


def flat_example(side):
    example = tf.train.Example()
    stored = encode_png16(np.zeros((side, side), np.uint16))
    example.features.feature[IMAGE].bytes_list.value.append(stored)
    example.features.feature[SLOPE].float_list.value.append(1.0)
    example.features.feature[INTERCEPT].float_list.value.append(-1024.0)
    return example.SerializeToString()


def flat_picture(side, file_format):
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("signature", "argument", "large"),
    [
        ("serving_default", "examples", flat_example),
        ("transform_features", "examples", flat_example),
        ("explain", "examples", flat_example),
        ("predict_image", "image_bytes", functools.partial(flat_picture, file_format="PNG")),
        ("predict_image", "image_bytes", functools.partial(flat_picture, file_format="JPEG")),
        ("explain_image", "image_bytes", functools.partial(flat_picture, file_format="PNG")),
    ],
)
def test_a_slice_of_more_pixels_than_ingestion_takes_is_refused_by_every_signature(
    exported, signature, argument, large
):
    asked = [large(16), large(5000), large(16)]
    # What is refused is small as a message.
    assert max(map(len, asked)) < 2**19
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 5000 x 5000 pixels, more than"):
        exported[signature](**{argument: tf.constant(asked)})
    exported[signature](**{argument: tf.constant(asked[::2])})


def test_pictures_of_different_sizes_and_formats_go_in_one_request(exported):
    encoded = [picture("L", "PNG"), picture("RGB", "JPEG", (20, 50)), picture("I;16", "PNG")]
    together = exported[prediction.PREDICT_IMAGE](image_bytes=tf.constant(encoded))
    alone = [exported[prediction.PREDICT_IMAGE](image_bytes=tf.constant([one])) for one in encoded]
    np.testing.assert_allclose(
        together[prediction.PROBABILITY].numpy(),
        [float(one[prediction.PROBABILITY][0]) for one in alone],
        atol=1e-6,
    )


def slice_of(side, facts):
    generator = np.random.default_rng(side)
    stored = generator.integers(0, 2000, (side, side + 3)).astype(np.uint16)
    return make_example(StoredSlice(stored, 1.0, -1024.0, True), facts).SerializeToString()


def test_a_slice_without_a_label_is_answered_the_same(exported):
    known = slice_of(24, SliceFacts("a", "patient", label=1, age=50.0, sex="F"))
    unknown = slice_of(24, SliceFacts("a"))
    found = answers(exported, [known, unknown])
    assert found[prediction.PROBABILITY][0] == found[prediction.PROBABILITY][1]


def test_slices_of_different_sizes_are_answered_in_one_batch_as_alone(exported):
    examples = [slice_of(side, SliceFacts(str(side))) for side in (1, 16, 64)]
    together = answers(exported, examples)[prediction.PROBABILITY]
    alone = [answers(exported, [one])[prediction.PROBABILITY][0] for one in examples]
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "argument", "outputs"),
    [
        (
            "serving_default",
            "examples",
            {
                "probability": (tf.float32, [None]),
                "decision": (tf.int64, [None]),
                "threshold": (tf.float32, [None]),
            },
        ),
        (
            "predict_image",
            "image_bytes",
            {
                "probability": (tf.float32, [None]),
                "decision": (tf.int64, [None]),
                "threshold": (tf.float32, [None]),
            },
        ),
        *(
            (
                name,
                argument,
                {
                    "probability": (tf.float32, [None]),
                    "decision": (tf.int64, [None]),
                    "threshold": (tf.float32, [None]),
                    "heatmap": (tf.float32, [None, 32, 32]),
                },
            )
            for name, argument in (("explain", "examples"), ("explain_image", "image_bytes"))
        ),
        ("transform_features", "examples", {"image": (tf.float32, [None, 32, 32, 1])}),
    ],
)
def test_signatures_are_what_clients_were_told(exported, name, argument, outputs):
    """Spelt out, because clients in other languages spell them out too."""
    signature = exported[name]
    (positional, named) = signature.structured_input_signature
    assert not positional
    assert {key: (spec.dtype, spec.shape.as_list()) for key, spec in named.items()} == {
        argument: (tf.string, [None])
    }
    found = {
        key: (spec.dtype, spec.shape.as_list())
        for key, spec in signature.structured_outputs.items()
    }
    assert found == outputs


def test_there_are_exactly_these_signatures(exported):
    assert set(exported) == {
        "serving_default",
        "predict_image",
        "transform_features",
        "explain",
        "explain_image",
    }


def test_the_weights_are_constants_and_stored_once(served, tmp_path):
    """However many signatures there are."""
    served.save(str(tmp_path / "model"))
    saved = (tmp_path / "model" / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(saved).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    operations = Counter(node.op for node in nodes)
    assert operations["Conv2D"] >= 3
    assert not operations["VarHandleOp"]
    assert not operations["FusedBatchNormV3"]
    kernels = [
        node.name
        for node in nodes
        if node.op == "Const"
        and tuple(tf.make_ndarray(node.attr["value"].tensor).shape[2:]) == (16, 32)
    ]
    assert len(kernels) == 1


def grad_cam(network, image):
    """Slice by slice, as the paper writes it, with the model in memory."""
    backbone, head = network.parts()
    maps = []
    for one in image:
        features = tf.constant(backbone(one[np.newaxis], training=False))
        with tf.GradientTape() as tape:
            tape.watch(features)
            logit = head(features, training=False)
        weights = tape.gradient(logit, features).numpy().mean(axis=(0, 1, 2))
        raw = np.maximum((features.numpy()[0] * weights).sum(axis=-1), 0.0)
        maps.append(tf.image.resize(raw[..., np.newaxis], image.shape[1:3]).numpy()[..., 0])
    return np.stack(maps)


def strongest_is_one(maps):
    highest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(highest > 0.0, highest, 1.0)


def test_the_heatmap_is_grad_cam(exported, network, study):
    found = exported[prediction.EXPLAIN](examples=raw_in_order_of(study, EVAL))
    expected = strongest_is_one(grad_cam(network, images(study, EVAL)))
    np.testing.assert_allclose(found[prediction.HEATMAP].numpy(), expected, atol=1e-4)
    # It says something, and of different slices different things.
    assert np.ptp(expected, axis=(1, 2)).max() > 0.5
    assert np.abs(expected[0] - expected[1]).max() > 0.1


def test_an_explained_answer_is_the_same_answer(exported, study):
    examples = raw_in_order_of(study, EVAL)
    plain = exported[prediction.SERVING_DEFAULT](examples=examples)
    explained = exported[prediction.EXPLAIN](examples=examples)
    for name, value in plain.items():
        np.testing.assert_array_equal(explained[name].numpy(), value.numpy())
    encoded = [picture("L", "PNG"), picture("RGB", "JPEG")]
    plain = exported[prediction.PREDICT_IMAGE](image_bytes=tf.constant(encoded))
    explained = exported[prediction.EXPLAIN_IMAGE](image_bytes=tf.constant(encoded))
    for name, value in plain.items():
        np.testing.assert_array_equal(explained[name].numpy(), value.numpy())


def test_with_flip_averaging_both_views_are_explained(network, study, threshold, tmp_path):
    ServedModel(
        network, study.transform, Decision(TEMPERATURE, threshold), WINDOW, flip_average=True
    ).save(str(tmp_path / "model"))
    explain = tf.saved_model.load(str(tmp_path / "model")).signatures[prediction.EXPLAIN]
    shown = images(study, EVAL)
    views = grad_cam(network, shown), grad_cam(network, shown[:, :, ::-1])[:, :, ::-1]
    found = explain(examples=raw_in_order_of(study, EVAL))[prediction.HEATMAP].numpy()
    np.testing.assert_allclose(found, strongest_is_one(sum(views)), atol=1e-4)
    assert np.abs(strongest_is_one(views[0]) - found).max() > 0.01


def test_the_warm_up_requests_ask_every_signature_and_are_answered(served, exported, tmp_path):
    served.save(str(tmp_path / "model"))
    records = tf.data.TFRecordDataset(
        str(tmp_path / "model" / "assets.extra" / "tf_serving_warmup_requests")
    )
    asked = []
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "ctnet"
        signature = request.model_spec.signature_name
        ((argument, tensor),) = request.inputs.items()
        found = exported[signature](**{argument: tf.make_ndarray(tensor)})
        size = tensor.tensor_shape.dim[0].size
        assert found[prediction.PROBABILITY].shape == [size]
        asked.append((signature, size))
    assert asked == [
        ("serving_default", 1),
        ("serving_default", 16),
        ("predict_image", 1),
        ("predict_image", 16),
        ("explain", 1),
        ("explain_image", 1),
    ]
