"""The search through real Beam."""

import random

import numpy as np
import pytest

from components.ct_example_gen.near_duplicates import Clusters
from components.ct_example_gen.near_duplicates import search as search_module
from transform.phantom import draw_patient, render_slice


@pytest.fixture(scope="module")
def archive(chests, print_of_hu):
    """Slices that are all different."""
    return {f"chest-{number}": print_of_hu(hu) for number, hu in enumerate(chests)}


def test_different_slices_of_a_patient_and_of_others_are_no_pairs(archive, search):
    assert search(archive) == []


def test_pictures_are_found_however_they_were_changed(
    archive, chests, changes, show, print_of_picture, search
):
    copies = {
        f"chest-{number}-{name}": print_of_picture(change(show(hu)))
        for number, hu in enumerate(chests)
        for name, change in changes.items()
    }
    groups = list(Clusters(search({**archive, **copies})).groups())
    expected = [
        sorted([f"chest-{number}", *(f"chest-{number}-{name}" for name in changes)])
        for number in range(len(chests))
    ]
    assert groups == expected


def test_neighbouring_slices_at_eight_millimetres_are_no_pairs(print_of_hu, search):
    patient = draw_patient(12, 0)
    slices = round(patient.anatomy.lung_height * 0.78 / 8)
    series = {
        f"slice-{index:02d}": print_of_hu(render_slice(patient, index, slices, 256).hu)
        for index in range(slices)
    }
    assert search(series) == []


def test_slices_of_one_series_are_a_pair_only_where_one_is_a_copy(
    chests, show, change_lightly, print_of_hu, print_of_picture, search
):
    one = print_of_hu(chests[0])
    assert search({"a": ("series", one), "b": ("series", one)}) == [("a", "b")]
    alike = print_of_picture(change_lightly(show(chests[0]), 400))
    assert search({"a": ("series", one), "b": ("series", alike)}) == []
    assert search({"a": ("series", one), "b": ("other", alike)}) == [("a", "b")]


def test_copies_of_a_series_are_found_slice_by_slice(
    chests, show, change_lightly, print_of_hu, print_of_picture, search
):
    series = {f"dicom-{n}": ("dicom", print_of_hu(hu)) for n, hu in enumerate(chests)}
    pictures = {
        f"picture-{n}": ("pictures", print_of_picture(change_lightly(show(hu), 400)))
        for n, hu in enumerate(chests)
    }
    expected = [(f"dicom-{n}", f"picture-{n}") for n in range(len(chests))]
    assert search({**series, **pictures}) == expected


def test_equal_slices_of_two_series_are_joined_across_them(chests, print_of_hu, search):
    one = print_of_hu(chests[0])
    slices = {"a": ("s", one), "b": ("s", one), "c": ("t", one), "d": ("t", one), "e": one}
    pairs = search(slices)
    assert len(pairs) == len(set(pairs))
    assert list(Clusters(pairs).groups()) == [["a", "b", "c", "d", "e"]]


def test_featureless_slices_are_in_no_pair(print_of_picture, search):
    blank = print_of_picture(np.full((100, 100), 7, np.uint8))
    assert search({"a": blank, "b": blank}) == []


def test_the_order_of_the_input_does_not_matter(
    archive, chests, show, change_lightly, print_of_picture, search
):
    copies = {
        f"copy-{chest}-{number}": print_of_picture(change_lightly(show(chests[chest]), number))
        for chest in (0, 5)
        for number in range(1, 40)
    }
    slices = list({**archive, **copies}.items())
    pairs = search(dict(slices))
    assert len(pairs) == len(set(pairs))
    groups = list(Clusters(pairs).groups())
    assert [len(group) for group in groups] == [40, 40]
    for seed in (1, 2):
        random.Random(seed).shuffle(slices)
        assert search(dict(slices)) == pairs


def test_a_thousand_equal_slices_are_one_cluster_without_a_single_comparison(
    archive, search, monkeypatch
):
    def never(*_):
        raise AssertionError("compared")

    monkeypatch.setattr(search_module, "misfit", never)
    pairs = search({f"copy-{number:04d}": archive["chest-0"] for number in range(1_000)})
    assert len(pairs) == 999
    assert len(next(Clusters(pairs).groups())) == 1_000


def test_many_copies_that_are_not_quite_equal_cost_a_bounded_number_of_comparisons_each(
    chests, show, print_of_picture, change_lightly, search, monkeypatch, tmp_path
):
    log = tmp_path / "compared"
    compare = search_module.misfit

    def counted(first, second):
        with log.open("a") as file:
            file.write("x")
        return compare(first, second)

    monkeypatch.setattr(search_module, "misfit", counted)
    prints = {}
    for number in range(150):
        one = print_of_picture(change_lightly(show(chests[0]), number))
        prints.setdefault(one, f"copy-{number:04d}")
    copies = {name: one for one, name in prints.items()}
    assert len(copies) > 120
    pairs = search(copies)
    assert len(next(Clusters(pairs).groups())) == len(copies)
    # The same copies meet in many buckets; what is looked at is bounded over all of them.
    assert len(log.read_text()) <= 4 * len(copies) < len(copies) ** 2 / 30
