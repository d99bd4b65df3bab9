import re
from html.parser import HTMLParser

import pytest

from pipeline.inspection import write_page

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """The text a reader sees, what the page would fetch, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.fetched, self.ids, self.open, self.tags = "", [], [], [], []
        self.feed(text)
        assert not self.open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.fetched.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def read_page(job, **settings):
    page = write_page(job.gather(**settings), job.folder.parent / "page")
    assert page.name == "index.html"
    return Page(page.read_text(encoding="utf-8"))


@pytest.fixture
def full_job(job):
    """Something of everything that a page can show."""
    for patient in range(60):
        job.accept(
            f"slice{patient}",
            patient_id=f"patient{patient}",
            label=patient % 2,
            split=("train", "eval", "test")[patient // 20],
            format="jpeg" if patient % 2 else "png",
            mean_hu=-400.0 + patient,
        )
    job.accept("again", patient_id="patient0", label=0, split="test")
    job.quarantine(job.picture("marks.png", colour=(255, 0, 0)), "coloured_marks", "a red box")
    (job.files / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    job.quarantine("broken.png", "unreadable", "broken.png is cut off")
    one, two = job.picture("one.png"), job.picture("two.png")
    job.duplicate([one, two], splits=["train", "test"], patients=["a", "b"])
    job.duplicate([one, two], labels=["0", "1"], splits=["", ""])
    job.leak(["patient0"], train=1, test=1)
    job.quarantine(one, "conflicting_label", "two labels")
    return job


def test_the_page_fetches_nothing_and_runs_nothing(full_job):
    page = read_page(full_job)
    assert any(link.startswith("data:image/jpeg;base64,") for link in page.fetched)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.fetched)
    assert "script" not in page.tags
    source = (full_job.folder.parent / "page" / "index.html").read_text()
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)
    assert not re.search(r"https?://", source)


def test_every_link_within_the_page_has_one_target(full_job):
    page = read_page(full_job)
    assert len(page.ids) == len(set(page.ids))
    links = {link[1:] for link in page.fetched if link.startswith("#")}
    assert "duplicate-1" in links
    assert links <= set(page.ids)


def test_the_verdict_comes_first_and_the_parts_in_their_order(full_job):
    text = read_page(full_job).text
    parts = [
        "61 of 64 slices can be used, but a run would stop",
        "Classes, splits and patients",
        "3 slices cannot be used",
        "1 group of near-identical slices",
        "1 picture with two labels",
        "Leaks across splits",
        "Confounds: what the file alone predicts",
        "Formats, sizes and sources",
        "Share of each class's slices",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_page_says_what_would_stop_a_run_and_what_a_model_may_learn_instead(full_job):
    text = read_page(full_job).text
    assert "1 patient is in more than one split; mend the split" in text
    assert "1 near-identical picture in more than one split: duplicate 1 (train and test)" in text
    assert "1 train, 1 test" in text
    assert "a model can learn the format instead of the lungs" in text
    assert "patient0" in text
    assert "30 of 30 patients" not in text
    assert "10 of 10 patients" in text


def test_pictures_stand_beside_what_is_known_of_them_and_broken_files_get_a_placeholder(full_job):
    page = read_page(full_job)
    assert page.tags.count("img") == 5
    assert "cannot be drawn: unreadable" in page.text
    assert "a red box" in page.text
    assert "positive, train" in page.text
    assert "negative, quarantine" in page.text
    assert "2 patients" in page.text


@pytest.mark.parametrize(
    "nasty", ["<script>alert(1)</script>.png", "a\"b' & <c>.png", "</style><img src=x>.png"]
)
def test_whatever_stands_in_names_is_shown_as_text(job, nasty):
    job.picture(nasty.replace("/", "_"))
    job.accept(nasty, source=nasty, mode=nasty, patient_id=nasty, split="train")
    job.accept("b", source="x", mode="x", patient_id=nasty, split="test")
    job.quarantine(nasty.replace("/", "_"), "bad_label", nasty)
    job.duplicate([nasty, "b"], splits=["train", "test"], patients=[nasty, nasty])
    job.leak([nasty], train=1, test=1)
    page = read_page(job, name=nasty)
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert page.fetched.count("x") == 0
    assert page.text.count(nasty) >= 5


@pytest.mark.parametrize("odd", ["\x1b[31m", "\u202egnp", "\udcff", "a\nb"])
def test_characters_that_are_no_plain_text_are_written_as_escapes(job, odd):
    job.accept(odd, source=odd, mode=odd, patient_id=odd)
    job.quarantine(odd, odd, odd)
    page = read_page(job, name=odd)
    assert odd not in page.text
    assert odd.encode("unicode_escape").decode() in page.text


def test_of_many_some_are_shown_and_the_rest_is_counted(job):
    job.picture("same.png")
    for number in range(336):
        job.quarantine(f"{number}", "coloured_marks", path="same.png")
    page = read_page(job)
    assert page.tags.count("img") == 24
    assert "and 312 more" in page.text
    assert "quarantine.jsonl" in page.text


def test_of_a_large_group_each_split_is_shown(job):
    names = [f"{number:02d}" for number in range(50)]
    job.duplicate(names, splits=["train"] * 49 + ["test"])
    text = read_page(job).text
    assert "49 positive, test" in text
    assert "and 44 slices more" in text


@pytest.mark.parametrize("label", [None, 1])
def test_a_page_is_written_of_whatever_little_there_is(job, label):
    assert "0 of 0 slices" in read_page(job).text
    job.accept("a", label=label, split="")
    assert "1 of 1 slice" in read_page(job).text


def test_the_same_findings_give_the_same_bytes_and_replace_an_older_page(full_job, tmp_path):
    findings = full_job.gather()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "index.html").write_text("old")
    first = write_page(findings, tmp_path / "first").read_bytes()
    assert write_page(findings, tmp_path / "again").read_bytes() == first
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["index.html"]


def test_nothing_of_a_dicom_header_reaches_the_page(job):
    job.quarantine(job.dicom("slice.dcm"), "little_lung", "1 % lung")
    page = read_page(job)
    assert page.tags.count("img") == 1
    assert "PLANTED" not in (job.folder.parent / "page" / "index.html").read_text()
