"""The search among real slices, where they lie beside the checkout."""

from pathlib import Path

import pytest

from transform.reading import read_slice

SHARED = (Path(__file__).resolve().parents[4] / ".." / "shared").resolve()
WINDOW = (-1000.0, 400.0)


@pytest.fixture(scope="module")
def pictures():
    folder = SHARED / "covid-ct" / "images"
    if not folder.is_dir():
        pytest.skip(f"no COVID-CT at {folder}")
    return folder


@pytest.fixture(scope="module")
def series():
    files = sorted((SHARED / "dicom").rglob("*.dcm"))
    if not files:
        pytest.skip(f"no DICOM series under {SHARED / 'dicom'}")
    return files


@pytest.mark.shared
def test_pictures_that_covid_ct_holds_under_both_labels_are_found(pictures, fingerprint_of, search):
    both = [("kjr-21-e24-p5-29.png", "71%0.jpg"), ("kjr-21-e24-p5-31.png", "71%1.jpg")]
    neighbours = [f"21{number}.png" for number in range(38, 46)]
    files = {
        **{name: pictures / "CT_COVID" / name for name, _ in both},
        **{name: pictures / "CT_NonCOVID" / name for _, name in both},
        **{name: pictures / "CT_NonCOVID" / name for name in neighbours},
    }
    prints = {name: fingerprint_of(read_slice(path, WINDOW)) for name, path in files.items()}
    assert search(prints) == sorted(tuple(sorted(pair)) for pair in both)


@pytest.mark.shared
def test_slices_of_a_real_series_are_no_pairs(series, fingerprint_of, search):
    assert search({file.name: fingerprint_of(read_slice(file, WINDOW)) for file in series}) == []
