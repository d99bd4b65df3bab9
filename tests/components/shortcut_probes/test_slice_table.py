import numpy as np
import pytest
import tensorflow as tf

from components.shortcut_probes.file_features import score_by_file
from components.shortcut_probes.slice_table import NUMBERS, SliceTable, choose, read_slice_table
from transform import ct_example
from transform.ct_example import SliceFacts, StoredSlice, make_example

PIXELS = StoredSlice(np.zeros((3, 5), np.uint16), 1.0, -1024.0, calibrated=True, spacing=0.75)


def example(number, label, **facts):
    made = make_example(PIXELS, SliceFacts(f"slice-{number}", f"p{number // 2}", label=label))
    for name, value in facts.items():
        made.features.feature[name].bytes_list.value[:] = [value]
    return made


def write(path, examples):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for one in examples:
            writer.write(one.SerializeToString())
    return str(path)


def table_of(label, **columns):
    label = np.asarray(label, np.int8)
    names = np.array([b"%05d" % row for row in range(len(label))], object)
    numbers = np.full((len(label), len(NUMBERS)), np.nan)
    for name, column in columns.items():
        if name != "source":
            numbers[:, NUMBERS.index(f"stats/{name}")] = column
    source = columns.get("source", np.full(len(label), b"", object))
    return SliceTable(names, names, source, label, numbers)


def test_a_slice_is_known_by_what_its_example_says(tmp_path):
    slices = [example(0, 1, source=b"clinic"), example(1, 0)]
    table = read_slice_table([write(tmp_path / "a.gz", slices)], 100)
    rows = dict(zip(table.image_id.tolist(), range(2), strict=True))
    order = [rows[b"slice-0"], rows[b"slice-1"]]
    assert table.label[order].tolist() == [1, 0]
    assert table.patient_id[order].tolist() == [b"p0", b"p0"]
    assert table.source[order].tolist() == [b"clinic", b""]
    assert table.numbers.tolist() == [[1.0, 3.0, 5.0, 0.75]] * 2


def test_what_is_unknown_is_nan(tmp_path):
    one = example(0, 1)
    del one.features.feature[ct_example.SPACING]
    table = read_slice_table([write(tmp_path / "a.gz", [one])], 100)
    assert np.isnan(table.numbers[0, NUMBERS.index(ct_example.SPACING)])


def test_no_pixel_is_decoded(tmp_path):
    damaged = example(0, 1, **{ct_example.IMAGE: b"no picture"})
    table = read_slice_table([write(tmp_path / "a.gz", [damaged])], 100)
    assert len(table) == 1


def test_slices_without_a_label_are_left_out(tmp_path):
    files = [write(tmp_path / "a.gz", [example(0, None), example(1, 0)])]
    assert read_slice_table(files, 100).image_id.tolist() == [b"slice-1"]


def test_no_slice_is_an_empty_table(tmp_path):
    assert len(read_slice_table([], 100)) == 0
    assert len(read_slice_table([write(tmp_path / "a.gz", [])], 100)) == 0


def test_which_slices_are_kept_depends_neither_on_their_order_nor_on_their_files(tmp_path):
    slices = [example(number, number % 2) for number in range(200)]
    one_file = [write(tmp_path / "all.gz", slices)]
    two_files = [
        write(tmp_path / "late.gz", slices[:80:-1]),
        write(tmp_path / "early.gz", slices[80::-1]),
    ]
    everything = read_slice_table(one_file, 1000)
    assert len(everything) == 200
    # Few enough that what is held is cut down more than once on the way.
    kept = [read_slice_table(files, 30).image_id.tolist() for files in (one_file, two_files)]
    assert kept[0] == kept[1] == everything.image_id[:30].tolist()
    assert kept[0] != sorted(kept[0])


def test_the_choice_does_not_look_at_the_class():
    label = np.random.default_rng(0).integers(2, size=500)
    chosen = [choose(table_of(one), 60).image_id.tolist() for one in (label, 1 - label)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 60


@pytest.mark.parametrize("rare", [0, 1])
def test_both_classes_are_chosen_where_one_is_rare(rare):
    label = np.full(500, 1 - rare)
    label[[30, 450, 460, 470, 480, 490, 491, 492]] = rare
    chosen = choose(table_of(label), 50)
    assert len(chosen) == 50
    assert (chosen.label == rare).sum() == 5
    # The first by their hash, of either class.
    assert chosen.image_id.tolist() == [
        b"%05d" % row for row in [*range(30), 30, *range(31, 46), 450, 460, 470, 480]
    ]


def test_two_slices_are_one_of_each_class():
    assert sorted(choose(table_of([0, 0, 0, 0, 1]), 2).label.tolist()) == [0, 1]


def test_a_missing_class_stays_missing_and_few_slices_are_all_chosen():
    assert len(choose(table_of([1, 1, 1]), 2)) == 2
    assert len(choose(table_of([1, 0, 1]), 300)) == 3


def labels(count):
    return np.arange(count) % 2


def test_a_size_that_goes_with_the_class_is_found():
    label = labels(80)
    train, test = (table_of(one, height=512.0 + 100.0 * one) for one in (label, label[:21]))
    scores = score_by_file(train, test)
    assert scores.shape == (21,)
    assert scores[test.label == 1].min() > scores[test.label == 0].max()


def test_a_source_that_goes_with_the_class_is_found_and_an_unknown_one_is_no_fault():
    label = labels(80)
    source = np.where(label == 1, b"ours", b"theirs").astype(object)
    asked = np.array([b"ours", b"theirs", b"nobody's"], object)
    scores = score_by_file(
        table_of(label, source=source), table_of(np.array([1, 0, 1]), source=asked)
    )
    assert scores[0] > 0.9
    assert scores[1] < 0.1
    assert 0.0 <= scores[2] <= 1.0


def test_that_one_class_comes_from_many_rare_sources_is_found():
    def table(count, first):
        label = labels(count)
        source = [
            b"paper %d" % (first + row) if one else b"archive" for row, one in enumerate(label)
        ]
        return table_of(label, source=np.array(source, object))

    train, test = table(200, 0), table(20, 1000)
    scores = score_by_file(train, test)
    assert scores[test.label == 1].min() > scores[test.label == 0].max()


def test_a_source_is_not_looked_at_where_it_is_left_out():
    label = labels(80)
    table = table_of(label, source=np.where(label == 1, b"ours", b"theirs").astype(object))
    assert len(set(score_by_file(table, table, with_source=False).tolist())) == 1


def test_files_that_are_all_alike_say_nothing():
    table = table_of(labels(80), height=512.0, width=512.0)
    assert len(set(score_by_file(table, table).tolist())) == 1


def test_a_training_split_of_one_class_teaches_nothing():
    assert score_by_file(table_of(np.ones(30)), table_of(labels(4))) is None
