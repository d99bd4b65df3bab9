"""Reading NIfTI: axial slices as DICOM lays them out, whatever way the voxels are stored."""

import gzip
import itertools
import random
import struct
import subprocess
import sys
import tempfile
import warnings

import nibabel
import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)

from transform.reading import (
    FoundSlice,
    MachineFaultError,
    ReadingSettings,
    Reason,
    SlicePick,
    SliceReader,
    UnusableSliceError,
    find_slices,
    read_slice,
)
from transform.reading import nifti as nifti_module

WINDOW = (-1000.0, 400.0)
ALL = SlicePick("all")
SLICES, ROWS, COLUMNS = 11, 18, 20
# HU as DICOM shows axial slices: [feet to head, front to back, right to left].
VOLUME = np.random.default_rng(5).integers(-1024, 2000, (SLICES, ROWS, COLUMNS)).astype(np.int16)
# mm a column, a row, a slice.
SIZES = (0.7, 0.9, 2.5)
RAS_AFFINE = np.diag([*SIZES, 1.0])

ORIENTATIONS = ["RAS", "LPS", "LAS", "LPI", "RAI", "SPL", "ASR", "PIR", "ILA", "SRP", "ALI"]


def image_of(volume, codes="RAS", kind=nibabel.Nifti1Image, affine=RAS_AFFINE):
    """A NIfTI image of [slices, rows, columns], stored along the axes that `codes` names."""
    right_front_head = volume.transpose(2, 1, 0)[::-1, ::-1]
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = apply_orientation(right_front_head, turn)
    affine = affine @ inv_ornt_aff(turn, right_front_head.shape)
    image = kind(turned, affine, dtype=turned.dtype)
    assert "".join(nibabel.aff2axcodes(image.affine)) == codes
    return image


@pytest.fixture
def save(tmp_path):
    def saved(image, name="volume.nii"):
        path = tmp_path / name
        nibabel.save(image, path)
        return path

    return saved


def readings(path, pick=ALL):
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        return [reader.read(found) for found in find_slices(path, pick)]


def hounsfield(path):
    return np.stack([reading.stored_slice.hounsfield() for reading in readings(path)])


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_slices_are_axial_whatever_way_the_voxels_are_stored(save, codes, kind, name):
    path = save(image_of(VOLUME, codes, kind), name)
    np.testing.assert_array_equal(hounsfield(path), VOLUME)
    assert readings(path)[0].stored_slice.spacing == pytest.approx(0.8)


def test_a_tilted_volume_gives_the_slices_nearest_to_axial(save):
    angle = np.deg2rad(25)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for codes in ("RAS", "SPL"):
        right = image_of(VOLUME, codes)
        tilted = nibabel.Nifti1Image(np.asarray(right.dataobj), tilt @ right.affine)
        np.testing.assert_array_equal(hounsfield(save(tilted)), VOLUME)


@pytest.mark.parametrize("order", [">", "<"])
def test_either_byte_order_is_read(save, order):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    right = image_of(VOLUME)
    path = save(nibabel.Nifti1Image(np.asarray(right.dataobj), right.affine, header))
    assert path.read_bytes()[:4] == struct.pack(f"{order}i", 348)
    np.testing.assert_array_equal(hounsfield(path), VOLUME)


def test_the_quaternion_is_used_where_there_is_no_other_affine(save):
    image = image_of(VOLUME, "LPS")
    image.set_qform(image.affine, code=1)
    image.set_sform(None, code=0)
    np.testing.assert_allclose(hounsfield(save(image)), VOLUME)


def test_the_name_of_the_file_is_not_looked_at(save):
    plain, packed = save(image_of(VOLUME), "a.nii"), save(image_of(VOLUME), "a.nii.gz")
    for path in (plain, packed):
        bare = path.rename(path.with_name("dicom.dcm"))
        np.testing.assert_array_equal(hounsfield(bare), VOLUME)


def test_the_scaling_of_the_header_belongs_to_the_hounsfield_units(save):
    image = image_of(np.clip(VOLUME + 1024, 0, 4000).astype(np.uint16))
    image.header.set_slope_inter(0.5, -1000)
    stored = np.asarray(image.dataobj)
    path = save(image)
    # nibabel writes values divided by the slope; what is on the disk counts here.
    raw = bytearray(path.read_bytes())
    raw[352:] = stored.astype("<u2").tobytes(order="F")
    path.write_bytes(raw)
    expected = np.asarray(nibabel.load(path).dataobj)
    assert expected.min() == -1000.0
    np.testing.assert_allclose(hounsfield(path), expected[::-1, ::-1].transpose(2, 1, 0), atol=1e-3)
    assert readings(path)[0].stored_slice.slope == 0.5


def test_integers_of_any_width_stay_exact(save):
    for dtype in (np.int16, np.int32, np.int64, np.float32, np.float64):
        image = image_of(VOLUME.astype(dtype))
        image.set_data_dtype(dtype)
        path = save(image)
        np.testing.assert_array_equal(hounsfield(path), VOLUME)
        assert {reading.file.mode for reading in readings(path)} == {np.dtype(dtype).name}
        assert {reading.stored_slice.slope for reading in readings(path)} == {1.0}


def test_fractions_of_hounsfield_units_are_rounded_by_less_than_a_twentieth(save):
    smooth = VOLUME + np.random.default_rng(6).uniform(0, 1, VOLUME.shape)
    smooth[3, 0, 0] = 5000.0
    image = image_of(smooth)
    path = save(image)
    np.testing.assert_allclose(hounsfield(path), smooth, atol=0.0501)
    halves = VOLUME + 0.5
    np.testing.assert_array_equal(hounsfield(save(image_of(halves))), halves)


def test_what_is_read_is_true_hounsfield_units_of_a_known_file(save):
    path = save(image_of(VOLUME), "volume.nii.gz")
    first, *others = readings(path)
    assert first.stored_slice.calibrated
    assert (first.file.format, first.file.mode, first.file.patient_id) == ("nifti", "int16", "")
    assert first.file.bytes == path.stat().st_size
    assert {reading.file.series for reading in others} == {first.file.series} != {""}
    other = save(image_of(VOLUME), "other.nii")
    assert readings(other)[0].file.series != first.file.series


def test_slices_are_numbered_by_their_place_in_the_whole_volume(save):
    path = save(image_of(VOLUME))
    assert [found.name for found in find_slices(path, SlicePick("middle", 3))] == [
        "#05",
        "#06",
        "#07",
    ]
    assert [found.frame for found in find_slices(path, SlicePick("every", 4))] == [0, 4, 8]
    picked = readings(path, SlicePick("every", 4))
    np.testing.assert_array_equal(picked[1].stored_slice.hounsfield(), VOLUME[4])
    names = [found.name for found in find_slices(path, ALL)]
    assert names == sorted(names)


def test_a_volume_is_no_single_slice_but_one_of_a_single_slice_is(save):
    with pytest.raises(UnusableSliceError, match="volume of 11 slices") as caught:
        read_slice(save(image_of(VOLUME)), WINDOW)
    assert caught.value.reason is Reason.MULTI_FRAME
    single = save(image_of(VOLUME[:1]))
    np.testing.assert_array_equal(read_slice(single, WINDOW).hounsfield(), VOLUME[0])


def reason_of(path):
    with pytest.raises(UnusableSliceError) as caught:
        readings(path)
    assert str(path) in caught.value.detail
    assert len(caught.value.detail.splitlines()) == 1
    return caught.value.reason


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (np.clip(VOLUME, 0, 255).astype(np.uint8), Reason.NOT_RESCALED),
        (((VOLUME + 1024) / 4095).astype(np.float32), Reason.NOT_RESCALED),
        (VOLUME + np.int16(1024), Reason.NOT_RESCALED),
        (np.where(VOLUME > 1900, np.nan, VOLUME), Reason.NOT_FINITE),
        (np.where(VOLUME > 1900, -np.inf, VOLUME), Reason.NOT_FINITE),
        (VOLUME * 50.0, Reason.UNSUPPORTED_PIXELS),
        (VOLUME.astype(np.int32) * 50, Reason.UNSUPPORTED_PIXELS),
        (VOLUME.astype(np.complex64), Reason.UNSUPPORTED_PIXELS),
        (np.full_like(VOLUME, -1000), Reason.CONSTANT),
        (VOLUME[:, :12], Reason.TOO_SMALL),
        (VOLUME - np.int16(5000), Reason.IMPLAUSIBLE_HU),
    ],
    ids=[
        "grey levels of 8 bit",
        "scaled to 1",
        "stored values without their intercept",
        "NaN",
        "infinity",
        "floats beyond 16 bit",
        "integers beyond 16 bit",
        "complex",
        "constant",
        "too few rows",
        "no body",
    ],
)
def test_a_volume_that_holds_no_hounsfield_units_gets_its_reason(save, volume, reason):
    image = image_of(volume)
    image.set_data_dtype(volume.dtype)
    assert reason_of(save(image)) is reason


def test_colours_are_refused(save):
    colours = np.zeros((20, 20, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert reason_of(save(nibabel.Nifti1Image(colours, np.eye(4)))) is Reason.UNSUPPORTED_PIXELS


def test_what_is_found_in_a_volume_of_no_hounsfield_units_is_said(save):
    with pytest.raises(UnusableSliceError, match="values from 0 to 255"):
        readings(save(image_of(np.resize(np.arange(256, dtype=np.uint8), VOLUME.shape))))


def test_several_volumes_in_a_file_are_refused_and_a_fourth_axis_of_one_is_not(save):
    right = np.asarray(image_of(VOLUME).dataobj)
    one = nibabel.Nifti1Image(right[..., None], RAS_AFFINE)
    np.testing.assert_array_equal(hounsfield(save(one)), VOLUME)
    two = nibabel.Nifti1Image(np.stack([right, right], axis=-1), RAS_AFFINE)
    assert reason_of(save(two)) is Reason.UNSUPPORTED_PIXELS


def test_a_volume_that_does_not_say_how_it_lies_is_refused(save):
    image = image_of(VOLUME)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    assert reason_of(save(image)) is Reason.NOT_AXIAL


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.diag([0, 1, 1, 1])],
    ids=["zeros", "NaN", "infinity", "no columns"],
)
def test_an_affine_of_no_volume_is_refused(save, affine):
    path = save(image_of(VOLUME))
    raw = bytearray(path.read_bytes())
    # nifti1.h: srow_x, srow_y and srow_z.
    raw[280:328] = np.asarray(affine, "<f4")[:3].tobytes()
    path.write_bytes(raw)
    assert reason_of(path) is Reason.NOT_AXIAL


def test_thick_sagittal_slices_are_not_taken_for_axial_ones(save):
    right = image_of(VOLUME, affine=np.diag([5.0, 0.9, 0.9, 1.0]))
    assert reason_of(save(right)) is Reason.NOT_AXIAL


# nifti1.h: where the fields of the header are.
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SCL_SLOPE, SCL_INTER = 40, 70, 76, 108, 112, 116


@pytest.mark.parametrize(
    ("at", "field", "reason"),
    [
        (DIM, struct.pack("<h", 0), Reason.UNREADABLE),
        (DIM, struct.pack("<h", 9), Reason.UNREADABLE),
        (DIM + 2, struct.pack("<h", -1), Reason.UNREADABLE),
        (DIM + 2, struct.pack("<h", 0), Reason.UNREADABLE),
        (DIM + 2, struct.pack("<h", 4097), Reason.TOO_LARGE),
        (DIM + 6, struct.pack("<h", 10001), Reason.TOO_LARGE),
        (DIM + 6, struct.pack("<h", SLICES + 1), Reason.UNREADABLE),
        (DIM + 2, struct.pack("<3h", 4096, 4096, 10000), Reason.UNREADABLE),
        (DATATYPE, struct.pack("<h", 0), Reason.UNSUPPORTED_PIXELS),
        (DATATYPE, struct.pack("<h", 1), Reason.UNSUPPORTED_PIXELS),
        (DATATYPE, struct.pack("<h", 7777), Reason.UNSUPPORTED_PIXELS),
        (DATATYPE, struct.pack("<h", 1536), Reason.UNSUPPORTED_PIXELS),
        (VOX_OFFSET, struct.pack("<f", -1), Reason.UNREADABLE),
        (VOX_OFFSET, struct.pack("<f", float("nan")), Reason.UNREADABLE),
        (VOX_OFFSET, struct.pack("<f", 1e30), Reason.UNREADABLE),
        (VOX_OFFSET, struct.pack("<f", 3), Reason.UNREADABLE),
        (VOX_OFFSET, struct.pack("<f", 400), Reason.UNREADABLE),
        (SCL_SLOPE, struct.pack("<2f", 1, float("nan")), Reason.NOT_RESCALED),
        (SCL_SLOPE, struct.pack("<2f", 1e30, 0), Reason.IMPLAUSIBLE_HU),
    ],
)
@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz"])
def test_a_header_of_no_ct_gets_its_reason(save, name, at, field, reason):
    path = save(image_of(VOLUME))
    raw = bytearray(path.read_bytes())
    raw[at : at + len(field)] = field
    path.unlink()
    path = path.with_name(name)
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert reason_of(path) is reason


def test_the_header_and_image_pair_is_of_unknown_format(tmp_path):
    right = image_of(VOLUME)
    nibabel.save(nibabel.Nifti1Pair(np.asarray(right.dataobj), right.affine), tmp_path / "a.img")
    for name in ("a.hdr", "a.img"):
        assert reason_of(tmp_path / name) is Reason.UNKNOWN_FORMAT


def test_a_gzip_file_of_something_else_is_of_unknown_format(tmp_path):
    path = tmp_path / "a.nii.gz"
    for content in (b"", b"hello" * 200, bytes(1000)):
        path.write_bytes(gzip.compress(content))
        assert reason_of(path) is Reason.UNKNOWN_FORMAT
    path.write_bytes(b"\x1f\x8b" + bytes(500))
    assert reason_of(path) is Reason.UNKNOWN_FORMAT


def test_a_file_cut_off_anywhere_is_refused(save):
    for name in ("a.nii", "a.nii.gz"):
        path = save(image_of(VOLUME), name)
        whole = path.read_bytes()
        for length in [*range(0, len(whole), 701), len(whole) - 9, len(whole) - 1]:
            path.write_bytes(whole[:length])
            assert reason_of(path) in (Reason.UNREADABLE, Reason.UNKNOWN_FORMAT)


def test_a_compressed_volume_whose_sum_is_wrong_is_refused(save):
    path = save(image_of(VOLUME), "a.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)
    assert reason_of(path) is Reason.UNREADABLE


def test_a_volume_compressed_in_several_members_is_read(save):
    path = save(image_of(VOLUME))
    raw = path.read_bytes()
    parts = [raw[at : at + 3000] for at in range(0, len(raw), 3000)]
    path.write_bytes(b"".join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(hounsfield(path), VOLUME)


def test_no_text_of_the_header_reaches_a_message(save):
    image = image_of(np.clip(VOLUME, 0, 255))
    image.header["descrip"] = b"DOE^JANE"
    image.header["aux_file"] = b"DOE^JANE"
    image.header["db_name"] = b"DOE^JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    path = save(image)
    assert b"DOE^JANE" in path.read_bytes()
    with pytest.raises(UnusableSliceError) as caught:
        readings(path)
    assert "DOE" not in str(caught.value)


def files_unpacked(monkeypatch):
    """The files that are unpacked from now on, in a list that grows."""
    opened, unpack = [], nifti_module.igzip.open

    def counted(path):
        opened.append(path)
        return unpack(path)

    monkeypatch.setattr(nifti_module.igzip, "open", counted)
    return opened


def test_a_compressed_volume_is_unpacked_once_and_nothing_is_left_behind(
    save, tmp_path, monkeypatch
):
    path = save(image_of(VOLUME, "SPL"), "a.nii.gz")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    opened = files_unpacked(monkeypatch)
    np.testing.assert_array_equal(hounsfield(path), VOLUME)
    assert opened == [path]
    assert list(scratch.iterdir()) == []


def test_a_damaged_compressed_volume_is_unpacked_only_once(save, monkeypatch):
    path = save(image_of(VOLUME), "a.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)
    opened = files_unpacked(monkeypatch)
    with SliceReader(ReadingSettings(WINDOW)) as reader:
        for found in find_slices(path, ALL):
            with pytest.raises(UnusableSliceError, match="damaged"):
                reader.read(found)
    assert opened == [path]


def test_a_full_disk_is_said_and_not_filled(save, monkeypatch):
    path = save(image_of(VOLUME), "a.nii.gz")
    usage = nifti_module.shutil.disk_usage(path)
    monkeypatch.setattr(nifti_module.shutil, "disk_usage", lambda _: usage._replace(free=100))
    # No fault of the volume's: it must not go to quarantine for it.
    with pytest.raises(MachineFaultError, match="TMPDIR"):
        readings(path)


@pytest.mark.parametrize("codes", ["RAS", "SPL", "ASR"])
def test_blocks_smaller_than_the_volume_give_the_same_slices(save, monkeypatch, codes):
    path = save(image_of(VOLUME, codes))
    for size in (1, 1000, 3000):
        monkeypatch.setattr(nifti_module, "_SLAB_BYTES", size)
        np.testing.assert_array_equal(hounsfield(path), VOLUME)
        with SliceReader(ReadingSettings(WINDOW)) as reader:
            for frame in (7, 2, 10, 0):
                read = reader.read(FoundSlice(path, "", frame)).stored_slice
                np.testing.assert_array_equal(read.hounsfield(), VOLUME[frame])


BOMB = """
import re, sys
from pathlib import Path
from transform.reading import (
    ReadingSettings, SlicePick, SliceReader, UnusableSliceError, find_slices
)
def peak():
    # Not getrusage's, which begins with the peak of the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
path = Path(sys.argv[1])
before = peak()
with SliceReader(ReadingSettings((-1000.0, 400.0))) as reader:
    for found in find_slices(path, SlicePick("middle", 2)):
        try:
            reader.read(found)
        except UnusableSliceError as error:
            print(error.reason.value)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_decompression_bomb_does_not_take_the_memory(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 512))
    header.set_data_dtype(np.int16)
    header.set_sform(RAS_AFFINE, 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(256):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**21
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True
    )
    *reasons, grown = done.stdout.split()
    assert reasons == ["constant", "constant"]
    assert int(grown) < 100 * 1024


def test_random_damage_is_read_or_refused_with_a_reason(save):
    whole = save(image_of(VOLUME[:2])).read_bytes()
    path = save(image_of(VOLUME[:2]), "damaged")
    generator = random.Random(20200324)
    outcomes = {"read": 0, "refused": 0}
    for packed, _ in itertools.product((False, True), range(300)):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            damaged[generator.randrange(352)] = generator.randrange(256)
        if packed:
            damaged = bytearray(gzip.compress(damaged, 1))
            if generator.random() < 0.5:
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                for reading in readings(path):
                    assert np.isfinite(reading.stored_slice.hounsfield()).all()
            except UnusableSliceError:
                outcomes["refused"] += 1
            else:
                outcomes["read"] += 1
    assert min(outcomes.values()) > 50
