"""Which slices of a volume a setting picks."""

import pytest

from transform.reading.slice_pick import SlicePick, parse_slice_pick


@pytest.mark.parametrize(
    ("text", "count", "places"),
    [
        ("all", 4, [0, 1, 2, 3]),
        (" all ", 2, [0, 1]),
        ("every:1", 3, [0, 1, 2]),
        ("every:3", 7, [0, 3, 6]),
        ("every:3", 6, [0, 3]),
        ("every:10", 4, [0]),
        ("middle:1", 5, [2]),
        ("middle:2", 5, [1, 2]),
        ("middle:3", 9, [3, 4, 5]),
        ("middle:4", 4, [0, 1, 2, 3]),
        ("middle:9", 4, [0, 1, 2, 3]),
        ("all", 0, []),
        ("every:2", 0, []),
        ("middle:2", 0, []),
    ],
)
def test_a_pick_takes_these_places_in_order(text, count, places):
    assert list(parse_slice_pick(text).of(count)) == places


def test_what_is_parsed_says_what_it_picks():
    assert parse_slice_pick("every:12") == SlicePick("every", 12)
    assert parse_slice_pick("middle:40") == SlicePick("middle", 40)
    assert parse_slice_pick("all") == SlicePick("all")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some",
        "All",
        "all:2",
        "every",
        "every:",
        "every:0",
        "every:-2",
        "every:+2",
        "every:1.5",
        "every:1_0",
        "every:\u0663",
        "middle:",
        "middle:x",
        "middle:9999999999",
        "first:3",
        "every:2:3",
    ],
)
def test_another_text_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match=r"write all, every:N or middle:N") as caught:
        parse_slice_pick(text)
    assert repr(text) in str(caught.value)
