"""Explaining: the heat maps of a served model, and the overlays that are drawn of them."""

import contextlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import overlay
from serving.client import Client
from serving.overlay import OverlayFolder, blend, draw_overlay, in_lung_window
from serving.server import EmbeddedServer
from serving.slice_result import ExplainedSlice, Prediction, SliceResult
from transform.ct_example import IMAGE, INTERCEPT, SLOPE
from transform.errors import ConfigError, CtnetError
from transform.hounsfield import resize, scaled_slices
from transform.picture_graph import decode_picture
from transform.prediction import (
    DECISION,
    EXAMPLES,
    EXPLAIN,
    EXPLAIN_IMAGE,
    HEATMAP,
    IMAGE_BYTES,
    PROBABILITY,
    THRESHOLD,
)

SIDE = 16
ROWS, COLUMNS = 96, 128
# Where the tiny model's evidence is: the bright part of a slice.
LESION = np.s_[60:84, 16:48]


class BrightIsHot(tf.Module):
    """Explains a slice by its own brightness; its probability is the mean of that."""

    def _outputs(self, image):
        heatmap = image[..., 0]
        probability = tf.reduce_mean(heatmap, axis=[1, 2])
        return {
            PROBABILITY: probability,
            DECISION: tf.cast(probability >= 0.5, tf.int64),
            THRESHOLD: tf.fill(tf.shape(probability), 0.5),
            HEATMAP: heatmap,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def explain(self, examples):
        number = tf.io.FixedLenFeature([], tf.float32)
        features = tf.io.parse_example(
            examples,
            {IMAGE: tf.io.FixedLenFeature([], tf.string), SLOPE: number, INTERCEPT: number},
        )
        return self._outputs(
            scaled_slices(
                features[IMAGE],
                features[SLOPE],
                features[INTERCEPT],
                hu_min=-1000.0,
                hu_max=400.0,
                size=SIDE,
            )
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
    def explain_image(self, image_bytes):
        def scaled(encoded):
            grey, white = decode_picture(encoded)
            return resize(tf.cast(grey, tf.float32) / white, SIDE)

        shape = tf.TensorSpec([SIDE, SIDE, 1], tf.float32)
        return self._outputs(tf.map_fn(scaled, image_bytes, fn_output_signature=shape))


@pytest.fixture(scope="module")
def explaining(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explaining")
    model = BrightIsHot()
    tf.saved_model.save(
        model,
        str(folder / "1"),
        signatures={EXPLAIN: model.explain, EXPLAIN_IMAGE: model.explain_image},
    )
    with EmbeddedServer(folder, port=0) as server, Client(server.address) as client:
        yield client


def lesion_picture(path):
    pixels = np.zeros((ROWS, COLUMNS), np.uint8)
    pixels[LESION] = 255
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def lesion_volume(path, slices=3):
    pixels = np.full((ROWS, COLUMNS), -1000, np.int16)
    pixels[LESION] = 400
    voxels = np.stack([pixels] * slices).transpose(2, 1, 0)[::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


def redness(file, rows=ROWS):
    """Where an overlay has colour: [rows, columns], the strip below left out."""
    with Image.open(file) as picture:
        assert picture.mode == "RGB"
        assert picture.width == COLUMNS
        assert picture.height > rows
        pixels = np.asarray(picture).astype(int)[:rows]
    return pixels.max(axis=2) - pixels.min(axis=2)


def test_the_overlay_is_hot_where_the_evidence_lies(explaining, tmp_path):
    paths = [lesion_picture(tmp_path / "a.png"), lesion_volume(tmp_path / "b.nii", slices=1)]
    overlays = OverlayFolder(tmp_path / "out")
    for one in explaining.explain_files(paths):
        assert one.result.error is None
        assert one.heatmap.shape == (SIDE, SIDE)
        assert one.grey.shape == (ROWS, COLUMNS)
        colour = redness(overlays.write(one))
        inside = np.zeros((ROWS, COLUMNS), bool)
        inside[LESION] = True
        # The heat map is coarse, 6 by 8 pixels a cell.
        near = np.zeros((ROWS, COLUMNS), bool)
        near[48:96, 4:60] = True
        assert colour[inside].mean() > 40
        assert colour[~near].max() == 0


def test_an_explanation_comes_with_the_prediction(explaining, tmp_path):
    (explained,) = explaining.explain_pictures([lesion_picture(tmp_path / "a.png").read_bytes()])
    share = 24 * 32 / (ROWS * COLUMNS)
    assert explained.prediction.probability == pytest.approx(share, abs=1e-3)
    assert explained.heatmap.mean() == pytest.approx(share, abs=1e-3)
    assert explaining.explain_examples([]) == []


def test_the_probability_is_in_the_text_of_the_file(explaining, tmp_path):
    (one,) = explaining.explain_files([lesion_picture(tmp_path / "a.png")])
    with Image.open(OverlayFolder(tmp_path / "out").write(one)) as picture:
        text = picture.text
    assert float(text["probability"]) == pytest.approx(one.result.prediction.probability, abs=1e-6)
    assert (text["decision"], float(text["threshold"])) == ("0", 0.5)
    assert not any(str(tmp_path) in value for value in text.values())


def test_slices_of_one_name_get_overlays_of_their_own(explaining, tmp_path):
    paths = [
        lesion_picture(tmp_path / "x" / "a.png"),
        lesion_picture(tmp_path / "y" / "a.png"),
        lesion_volume(tmp_path / "scan.nii"),
    ]
    overlays = OverlayFolder(tmp_path / "out")

    def names():
        return [overlays.write(one).name for one in explaining.explain_files(paths)]

    first = names()
    assert first == [
        "a.png.png",
        "a.png-2.png",
        "scan.nii-0001.png",
        "scan.nii-0002.png",
        "scan.nii-0003.png",
    ]
    # Asked again, each slice finds its own overlay.
    assert names() == first
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_slices_of_a_folder_carry_its_name(explaining, tmp_path):
    lesion_picture(tmp_path / "patient7" / "1.png")
    (one,) = explaining.explain_files([tmp_path / "patient7"])
    assert OverlayFolder(tmp_path / "out").write(one).name == "patient7-1.png.png"


def test_a_file_that_is_no_overlay_of_the_slice_is_left_alone(explaining, tmp_path):
    out = tmp_path / "out"
    overlays = OverlayFolder(out)
    (out / "a.png.png").write_text("precious")
    (one,) = explaining.explain_files([lesion_picture(tmp_path / "a.png")])
    assert overlays.write(one).name == "a.png-2.png"
    assert (out / "a.png.png").read_text() == "precious"


def explained(path):
    result = SliceResult(path, path, Prediction(0.1, 0, 0.5))
    return ExplainedSlice(result, np.zeros((4, 4), np.float32), np.zeros((16, 16), np.uint8))


def test_many_slices_of_one_name_are_placed_in_linear_time(tmp_path, monkeypatch):
    slices = [explained(tmp_path / str(number) / "a.png") for number in range(60)]
    opened, read = [], []
    plain_open, plain_read = Path.open, overlay.read_head

    def counted_open(file, mode="r", *arguments, **options):
        if mode == "xb" and not file.name.startswith("."):
            opened.append(file)
        return plain_open(file, mode, *arguments, **options)

    def counted_read(file):
        read.append(file)
        return plain_read(file)

    monkeypatch.setattr(Path, "open", counted_open)
    monkeypatch.setattr(overlay, "read_head", counted_read)
    overlays = OverlayFolder(tmp_path / "out")
    first = [overlays.write(one) for one in slices]
    assert len(set(first)) == 60
    again = OverlayFolder(tmp_path / "out")
    assert [again.write(one) for one in slices] == first
    assert len(opened) < 2 * 60
    assert len(read) < 3 * 60


@pytest.fixture
def little_room():
    """Files of this process cannot grow beyond 100 bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


def test_a_full_disk_leaves_no_part_of_an_overlay_and_is_one_line(tmp_path, little_room):
    out = tmp_path / "out"
    overlays = OverlayFolder(out)
    before = overlays.write(explained(tmp_path / "a.png")).read_bytes()
    for name in ("a.png", "b.png"):
        with pytest.raises(ConfigError, match="cannot be written") as info, little_room():
            overlays.write(explained(tmp_path / name))
        assert "\n" not in str(info.value)
        assert "File too large" in str(info.value)
    assert [path.name for path in out.iterdir()] == ["a.png.png"]
    assert (out / "a.png.png").read_bytes() == before
    assert overlays.write(explained(tmp_path / "b.png")).name == "b.png.png"


def test_an_overlay_is_known_by_its_bytes_and_other_pictures_are_none(tmp_path):
    file = OverlayFolder(tmp_path / "out").write(explained(tmp_path / "a.png"))
    assert overlay.is_overlay(file.read_bytes())
    assert not overlay.is_overlay(lesion_picture(tmp_path / "a.png").read_bytes())
    assert not overlay.is_overlay(b"")


def test_a_slice_that_fails_has_no_overlay_and_the_others_do(explaining, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    paths = [tmp_path / "bad.png", lesion_picture(tmp_path / "a.png"), tmp_path / "missing.png"]
    overlays = OverlayFolder(tmp_path / "out")
    results = list(explaining.explain_files(paths))
    assert [one.result.error is None for one in results] == [False, True, False]
    assert [overlays.write(one) is None for one in results] == [True, False, True]


def test_a_model_that_cannot_explain_says_so_in_one_line(server, tmp_path):
    paths = [lesion_picture(tmp_path / "a.png")]
    with Client(server.address) as client:
        with pytest.raises(CtnetError, match="cannot explain") as info:
            list(client.explain_files(paths))
        assert EXPLAIN_IMAGE in str(info.value)
        assert "\n" not in str(info.value)
        # It still predicts.
        assert client.predict_file(paths[0]).error is None


def test_an_overlay_without_heat_is_the_slice_alone():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    plain = blend(grey, np.zeros((4, 4), np.float32))
    assert (plain == grey[..., np.newaxis]).all()


def test_hotter_is_brighter_on_black():
    black = np.zeros((64, 64), np.uint8)
    levels = [
        blend(black, np.full((4, 4), heat, np.float32)).mean() for heat in np.linspace(0, 1, 9)
    ]
    assert (np.diff(levels) > 0).all()


def test_the_lung_window_is_black_below_and_white_above():
    hounsfield = np.array([[-3000.0, -1350.0, -600.0, 150.0, 3000.0]], np.float32)
    assert in_lung_window(hounsfield).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize("width", [16, 100, 512, 1024])
def test_the_strip_below_takes_nothing_from_the_slice(width):
    grey = np.full((32, width), 77, np.uint8)
    prediction = Prediction(0.25, 0, 0.5)
    drawn = np.asarray(draw_overlay(grey, np.zeros((4, 4), np.float32), prediction))
    assert (drawn[:32] == 77).all()
    assert drawn[32:].max() > 150


def test_long_names_still_make_files(tmp_path):
    folder = tmp_path / ("f" * 250)
    grey = np.zeros((16, 16), np.uint8)
    overlays = OverlayFolder(tmp_path / "out")
    files = set()
    for name in ("ä" * 120, "b" + "ä" * 119):
        result = SliceResult(folder / name, folder, Prediction(0.1, 0, 0.5), number=3)
        files.add(overlays.write(ExplainedSlice(result, np.zeros((4, 4), np.float32), grey)))
    assert len(files) == 2
    assert all(file.exists() for file in files)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match="taken"):
        OverlayFolder(tmp_path / "taken")
