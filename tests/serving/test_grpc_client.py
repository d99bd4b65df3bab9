import io
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from serving.client import ALL_SLICES, Client, Prediction, RefusedRequestError
from serving.input_slices import find_input_slices
from serving.server import EmbeddedServer
from serving.slice_payload import PayloadReader
from transform.ct_example import SliceFacts, make_example
from transform.errors import CtnetError
from transform.prediction import PREDICT_IMAGE, SERVING_DEFAULT
from transform.reading import read_slice

WINDOW = (-1000.0, 400.0)


@pytest.fixture(scope="module")
def ct_file():
    return Path(get_testdata_file("CT_small.dcm"))


@pytest.fixture
def client(server):
    with Client(server.address) as connected:
        yield connected


def mean_scaled(path):
    hounsfield = read_slice(path, WINDOW).hounsfield()
    return np.clip((hounsfield + 1000) / 1400, 0, 1).mean()


def test_pictures_are_predicted_in_order(client, picture):
    assert client.predict_pictures([picture(0), picture(255)]) == [
        Prediction(probability=0.0, decision=0, threshold=0.5),
        Prediction(probability=1.0, decision=1, threshold=0.5),
    ]


def test_examples_are_predicted_with_their_true_hounsfield_units(client, ct_file):
    example = make_example(read_slice(ct_file, WINDOW), SliceFacts("slice"))
    (prediction,) = client.predict_examples([example])
    assert prediction.probability == pytest.approx(mean_scaled(ct_file), abs=1e-5)


def test_nothing_to_predict_asks_nobody():
    with Client("127.0.0.1:1") as client:
        assert client.predict_pictures([]) == []
        assert client.predict_examples([]) == []
        assert list(client.predict_files([])) == []


def test_a_refused_value_is_told_from_a_failing_server(client):
    with pytest.raises(RefusedRequestError, match="refused the request") as info:
        client.predict_pictures([b"junk"])
    assert "\n" not in str(info.value)


def test_a_file_is_read_by_its_bytes_and_not_its_name(client, tmp_path, picture, ct_file):
    jpeg, png, dicom = tmp_path / "jpeg.png", tmp_path / "png.dcm", tmp_path / "dicom.jpg"
    jpeg.write_bytes(picture(102, "JPEG"))
    png.write_bytes(picture(51))
    shutil.copy(ct_file, dicom)
    results = list(client.predict_files([jpeg, dicom, png]))
    assert [result.path for result in results] == [jpeg, dicom, png]
    probabilities = [result.prediction.probability for result in results]
    assert probabilities == pytest.approx([0.4, mean_scaled(ct_file), 0.2], abs=1e-3)


def test_dicom_made_of_signed_values_keeps_its_hounsfield_units(client, tmp_path, ct_file):
    dataset = pydicom.dcmread(ct_file)
    # Half 100 HU above -300 and half below, so that the mean is what a constant slice would give.
    hounsfield = np.full((dataset.Rows, dataset.Columns), -400, np.int16)
    hounsfield[::2] = -200
    dataset.PixelData = hounsfield.tobytes()
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, 0
    path = tmp_path / "signed.dcm"
    dataset.save_as(path)
    assert client.predict_file(path).prediction.probability == pytest.approx(0.5, abs=1e-5)


def test_one_bad_file_of_each_kind_leaves_the_others_predicted(client, tmp_path, picture, ct_file):
    contents = {
        "good.png": picture(51),
        "text.png": b"no picture",
        "cut.png": picture(51)[:40],
        "empty.dcm": b"",
        "cut.dcm": ct_file.read_bytes()[:2000],
        "wrong_modality.dcm": ct_file.read_bytes().replace(b"CS\x02\x00CT", b"CS\x02\x00MR"),
        "good.dcm": ct_file.read_bytes(),
        "good.jpg": picture(255, "JPEG"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [*(tmp_path / name for name in contents), tmp_path / "missing.png", tmp_path]
    results = list(client.predict_files(paths))
    assert [result.path for result in results] == paths
    for result in results:
        good = result.path.name.startswith("good")
        assert (result.prediction is not None, result.error is None) == (good, good), result
        if result.error:
            assert str(result.path) in result.error
            assert "\n" not in result.error
    assert results[0].prediction.probability == pytest.approx(0.2)


def test_an_unreadable_file_is_an_error_of_its_own(client, tmp_path, picture):
    path = tmp_path / "locked.png"
    path.write_bytes(picture(0))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in client.predict_file(path).error


def test_batches_end_at_their_size_and_results_stay_in_order(
    client, tmp_path, picture, monkeypatch
):
    paths = []
    for grey in range(7):
        paths.append(tmp_path / f"{grey}.png")
        paths[-1].write_bytes(picture(grey))
    asked = []
    ask = Client._ask

    def counted(self, signature, values):
        if values:
            asked.append((signature, len(values)))
        return ask(self, signature, values)

    monkeypatch.setattr(Client, "_ask", counted)
    results = client.predict_files(iter(paths), batch_size=3)
    assert next(results).path == paths[0]
    assert asked == [(PREDICT_IMAGE, 3)]
    assert [result.path for result in results] == paths[1:]
    assert asked == [(PREDICT_IMAGE, size) for size in (3, 3, 1)]


def test_a_batch_never_outgrows_a_message(server, tmp_path, picture, ct_file):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG", compress_level=0)
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    large.write_bytes(buffer.getvalue())
    small.write_bytes(picture(255))
    room_for_one = large.stat().st_size + 70_000
    with Client(server.address, max_message_bytes=room_for_one) as client:
        results = list(client.predict_files([large, small, large, large, ct_file]))
        assert all(result.prediction for result in results)
    with Client(server.address, max_message_bytes=80_000) as client:
        results = list(client.predict_files([large, small]))
    assert "more than the" in results[0].error
    assert results[1].prediction.decision == 1


def test_a_batch_size_below_one_is_refused_at_once(client):
    with pytest.raises(ValueError, match="batch_size"):
        client.predict_files([], batch_size=0)


def one_line_error(ask):
    with pytest.raises(CtnetError) as info:
        ask()
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_server_that_is_gone_is_named_with_what_to_do(model_dir, picture):
    with (
        EmbeddedServer(model_dir, port=0) as server,
        Client(server.address, retries=0) as client,
    ):
        assert client.predict_pictures([picture(0)])
        server.stop()
        line = one_line_error(lambda: client.predict_pictures([picture(0)]))
    assert server.address in line
    assert "ctnet serve" in line


def test_files_stop_at_a_server_that_is_gone(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(picture(0))
    with Client("127.0.0.1:1", retries=0) as client:
        assert "127.0.0.1:1" in one_line_error(lambda: list(client.predict_files([path])))


def test_an_unknown_model_is_named_with_the_one_that_is_served(server, picture):
    with Client(server.address, model_name="other") as client:
        line = one_line_error(lambda: client.predict_pictures([picture(0)]))
    assert server.address in line
    assert "'other'" in line
    assert "'ctnet'" in line


def test_the_folders_above_a_file_and_the_patient_are_not_sent(tmp_path, ct_file):
    folder = tmp_path / "Jane Doe"
    folder.mkdir()
    shutil.copy(ct_file, folder / "slice.dcm")
    (one,) = find_input_slices([folder / "slice.dcm"], ALL_SLICES)
    with PayloadReader(max_bytes=100_000) as reader:
        payload = reader.read(one)
    patient_id = str(pydicom.dcmread(ct_file).PatientID)
    assert payload.patient.id == patient_id
    assert payload.signature == SERVING_DEFAULT
    assert b"slice.dcm" in payload.value
    assert b"Jane" not in payload.value
    assert patient_id.encode() not in payload.value


def test_a_result_does_not_print_the_patient_id(client, ct_file):
    result = client.predict_file(ct_file)
    assert result.patient.id == str(pydicom.dcmread(ct_file).PatientID)
    assert result.patient.in_header
    assert result.patient.id not in repr(result)


def test_the_version_in_service_is_asked_by_its_number_and_no_other(server, picture):
    with Client(server.address, version=10) as client:
        assert client.predict_pictures([picture(255)])[0].decision == 1
        assert PREDICT_IMAGE in client.signatures()
    with Client(server.address, version=2) as client:
        line = one_line_error(lambda: client.predict_pictures([picture(255)]))
    assert "model 'ctnet' version 2" in line


def test_a_label_that_no_version_has_is_an_error_of_all_slices(server, tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(picture(0))
    with Client(server.address, version_label="stable") as client:
        line = one_line_error(lambda: list(client.predict_files([path])))
    assert "version label 'stable'" in line
    assert server.address in line


def test_paths_may_be_text(client, tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(picture(255))
    assert client.predict_file(str(path)).path == path
    assert [one.path for one in client.predict_files([str(path), path])] == [path, path]


@pytest.mark.parametrize("ask", [Client.predict_files, Client.explain_files])
@pytest.mark.parametrize("path", ["scans", Path("scans")])
def test_one_path_in_the_place_of_a_list_is_told(client, ask, path):
    with pytest.raises(TypeError, match=r"give \[.*scans"):
        ask(client, path)


def test_a_request_over_the_clients_own_limit_names_the_setting(server, picture):
    with Client(server.address, max_message_bytes=70_000) as client:
        line = one_line_error(lambda: client.predict_pictures([picture(0) + b"\0" * 80_000]))
        assert "max_message_bytes" in line
        assert "refused" not in line
        # Together too large, each alone not: files are still predicted one by one.
        assert client.predict_pictures([picture(255)])[0].decision == 1
