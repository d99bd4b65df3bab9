"""Nothing that a DICOM header says of a person comes out of reading it, wherever it stands."""

import logging
import random

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from transform.reading import dicom_tags
from transform.reading.dicom import DicomFile, dicom_frames, read_dicom
from transform.reading.dicom_series import find_series
from transform.reading.unusable import UnusableSliceError

SECRET = "JANEDOE1965"
TEXT_VRS = (
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR",
    "UT",
)  # fmt: skip
ALLOWED = [tag for tag, contents in dicom_tags.DATA_SET.items() if contents is None]


def header(**elements):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def plant(dataset, tag, vr, text=SECRET):
    """Put text where no validation of pydicom would let it stand."""
    value = text.encode() + b" " * (len(text) % 2)
    tag = pydicom.tag.BaseTag(tag)
    dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.fixture
def everything_said(tmp_path, capfd, caplog, recwarn):
    """All that reading a data set prints, logs, warns of, raises and returns as text."""
    caplog.set_level(logging.DEBUG)

    def read(dataset):
        path = tmp_path / "slice.dcm"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pydicom.config.settings, "writing_validation_mode", 0)
            dataset.save_as(path)
        # What pydicom itself says while the file is written is not the reader's.
        capfd.readouterr()
        caplog.clear()
        recwarn.clear()
        said = []
        try:
            dicom_frames(path)
            find_series([path], tmp_path)
            with DicomFile(path) as file:
                facts = file.facts
                said += [facts.format, facts.mode, facts.series]
                for frame in range(min(file.frames, 3)):
                    said.append(str(file.read(frame)))
        except UnusableSliceError as error:
            said += [str(error), repr(error), error.detail, str(error.__cause__)]
        captured = capfd.readouterr()
        said += [captured.out, captured.err, caplog.text, *(str(one.message) for one in recwarn)]
        return "\n".join(said)

    return read


def test_text_of_any_element_outside_the_allowlist_is_not_even_read(everything_said, tmp_path):
    dataset, planted = header(), 0
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in TEXT_VRS and tag not in ALLOWED and 0x0008 <= tag >> 16 < 0x7FE0:
            plant(dataset, tag, vr)
            planted += 1
    assert planted > 1500
    dataset.SpecificCharacterSet = "ISO_IR 100"
    plant(dataset, 0x00091001, "LO")
    item = Dataset()
    plant(item, 0x00100010, "PN")
    for name in ("ReferencedStudySequence", "RequestAttributesSequence"):
        setattr(dataset, name, Sequence([item]))
        dataset[name].is_undefined_length = True
    assert SECRET not in everything_said(dataset)
    path = tmp_path / "slice.dcm"
    with DicomFile(path) as file:
        values = [value for _, value in file._header.elements._values.values()]
        assert file.read(0).calibrated
    assert path.read_bytes().count(SECRET.encode()) > planted
    assert not any(SECRET.encode() in value for value in values)


@pytest.mark.parametrize(
    "text", [SECRET, "19650102", "1965\\0102", "JANE^DOE\r\n1965", "\xff\x00DOE"]
)
@pytest.mark.parametrize("tag", ALLOWED, ids=hex)
def test_text_in_an_allowlisted_element_is_not_repeated(everything_said, tag, text):
    dataset = header()
    plant(dataset, tag, "LO", text)
    said = everything_said(dataset)
    for part in (SECRET, "JANE", "DOE", "1965", "0102"):
        assert part not in said


@pytest.mark.parametrize("tag", [0x00080005, 0x00020010, 0x00020016, 0x00080016], ids=hex)
def test_text_in_what_governs_the_reading_is_not_repeated(everything_said, tag):
    dataset = header()
    if tag >> 16 == 2:
        plant(dataset.file_meta, tag, "UI")
    else:
        plant(dataset, tag, "CS")
    assert SECRET not in everything_said(dataset)


@pytest.mark.parametrize("kind", ["meta", "compressed"])
def test_damage_makes_nothing_talk(tmp_path, everything_said, kind, capfd, caplog, recwarn):
    dataset = header(PatientName=SECRET, PatientComments=SECRET, ImageComments=SECRET)
    if kind == "compressed":
        dataset.compress(JPEG2000Lossless)
    path = tmp_path / "whole.dcm"
    dataset.save_as(path)
    whole = path.read_bytes()
    generator = random.Random(7)
    capfd.readouterr()
    caplog.clear()
    recwarn.clear()
    details = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 12)):
            damaged[generator.randrange(132, 6000)] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            assert np.isfinite(read_dicom(path).hounsfield()).all()
        except UnusableSliceError as error:
            details.append(f"{error} {error.__cause__}")
    assert len(details) > 20
    captured = capfd.readouterr()
    said = [*details, captured.out, captured.err, caplog.text, *(str(w.message) for w in recwarn)]
    assert SECRET[:4] not in "\n".join(said)
    assert not captured.err
    assert not caplog.records
