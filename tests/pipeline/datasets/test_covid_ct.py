import csv
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pipeline.datasets.covid_ct import Prepared, prepare_covid_ct
from transform.errors import ConfigError

COVID_CT = (Path(__file__).resolve().parents[3] / ".." / "shared" / "covid-ct").resolve()
POSITIVE_HEADER = ["File name", "Patient ID", "Age", "Gender", "Location", "DOI"]
NEGATIVE_HEADER = ["", "image name", "patient id"]
PREPRINT = "2020.01.24.919183-p27-132.png"


class TinyCovidCt:
    """A data set of one positive and one negative slice that a test then makes dirty."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table("COVID", POSITIVE_HEADER, [[PREPRINT, "Patient 1", "41", "M", "", ""]])
        self.table("NonCOVID", NEGATIVE_HEADER, [["0", "1%0.jpg", "crawled_patient_1"]])
        for kind, name in (("COVID", PREPRINT), ("NonCOVID", "1%0.jpg")):
            self.image(kind, name)
            self.split(kind, "train", name)
            self.split(kind, "val")
            self.split(kind, "test")

    def table_path(self, kind: str) -> Path:
        return self.root / f"{kind}-CT-MetaInfo.csv"

    def table(self, kind: str, header: list[str], rows: list[list[str]]) -> None:
        self.root.mkdir(exist_ok=True)
        with self.table_path(kind).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    def positive(self, *rows: list[str]) -> None:
        self.table("COVID", POSITIVE_HEADER, list(rows))

    def split_path(self, kind: str, split: str) -> Path:
        return self.root / "splits" / kind / f"{split}CT_{kind}.txt"

    def split(self, kind: str, split: str, *names: str) -> None:
        path = self.split_path(kind, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def image(self, kind: str, name: str) -> Path:
        path = self.root / "images" / f"CT_{kind}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels")
        return path

    def prepare(self, out: Path | None = None) -> tuple[Prepared, list[dict[str, str]]]:
        prepared = prepare_covid_ct(self.root, out or self.root / "manifest.csv")
        return prepared, read_manifest(prepared.manifest)

    def only_positive(self) -> tuple[dict[str, str], list[str]]:
        prepared, rows = self.prepare()
        [row] = [row for row in rows if row["label"] == "1"]
        return row, prepared.notes


@pytest.fixture
def tiny(tmp_path: Path) -> TinyCovidCt:
    return TinyCovidCt(tmp_path / "covid-ct")


def read_manifest(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, list[dict[str, str]]]:
    if not COVID_CT.is_dir():
        pytest.skip(f"the COVID-CT data set is not at {COVID_CT}")
    prepared = prepare_covid_ct(COVID_CT, tmp_path_factory.mktemp("covid") / "manifest.csv")
    return prepared, read_manifest(prepared.manifest)


@pytest.mark.shared
class TestTheRealDataSet:
    def test_every_slice_of_the_official_split_is_listed_once(self, real):
        prepared, rows = real
        assert prepared.rows == len(rows) == 746
        assert len({row["path"] for row in rows}) == 746
        assert list(rows[0]) == ["path", "label", "patient_id", "split", "age", "sex", "source"]

    def test_the_splits_are_the_official_ones(self, real):
        prepared, rows = real
        assert prepared.by_split_and_label == {
            "train": {"positive": 191, "negative": 234},
            "eval": {"positive": 60, "negative": 58},
            "test": {"positive": 98, "negative": 105},
        }
        counted = Counter((row["split"], row["label"]) for row in rows)
        assert counted["train", "1"] == 191
        assert counted["eval", "0"] == 58
        assert counted["test", "0"] == 105

    def test_the_label_follows_the_folder(self, real):
        folders = {(Path(row["path"]).parent.name, row["label"]) for row in real[1]}
        assert folders == {("CT_COVID", "1"), ("CT_NonCOVID", "0")}

    def test_patients_are_counted_once_and_never_carry_both_labels(self, real):
        prepared, rows = real
        assert prepared.patients == {"positive": 213, "negative": 171}
        labels = defaultdict(set)
        for row in rows:
            labels[row["patient_id"]].add(row["label"])
        assert len(labels) == 213 + 171
        assert all(len(seen) == 1 for seen in labels.values())

    def test_no_patient_of_the_tables_is_in_two_official_splits(self, real):
        splits = defaultdict(set)
        for row in real[1]:
            splits[row["patient_id"]].add(row["split"])
        assert all(len(seen) == 1 for seen in splits.values())

    def test_every_path_resolves_from_the_manifests_folder(self, real):
        prepared, rows = real
        for row in rows:
            path = (prepared.manifest.parent / row["path"]).resolve(strict=True)
            assert path.is_file()
            assert path.is_relative_to(COVID_CT)

    def test_ages_and_sexes_are_clean(self, real):
        ages = [float(row["age"]) for row in real[1] if row["age"]]
        assert len(ages) == 157
        assert all(0 <= age <= 120 for age in ages)
        assert Counter(row["sex"] for row in real[1]) == {"": 609, "M": 86, "F": 51}

    def test_every_slice_says_its_source(self, real):
        positive = {row["source"] for row in real[1] if row["label"] == "1"}
        assert all(source.startswith("10.") and " " not in source for source in positive)
        negative = {row["source"] for row in real[1] if row["label"] == "0"}
        assert negative == {"crawled", "medpix"}

    def test_the_notes_are_the_twelve_unreadable_ages_and_a_contradictory_patient(self, real):
        notes = real[0].notes
        assert "COVID-CT-MetaInfo.csv row 238: age '40+' is not a number: left empty" in notes
        assert sum("is not a number" in note for note in notes) == 12
        assert (
            sum("'covid/patient_143' has more than one age or sex" in note for note in notes) == 1
        )
        assert len(notes) == 13


def test_a_clean_data_set_gives_no_notes(tiny):
    prepared, rows = tiny.prepare()
    assert prepared.notes == []
    assert rows == [
        {
            "path": f"images/CT_COVID/{PREPRINT}",
            "label": "1",
            "patient_id": "covid/patient_1",
            "split": "train",
            "age": "41",
            "sex": "M",
            "source": "10.1101/2020.01.24.919183",
        },
        {
            "path": "images/CT_NonCOVID/1%0.jpg",
            "label": "0",
            "patient_id": "noncovid/crawled_patient_1",
            "split": "train",
            "age": "",
            "sex": "",
            "source": "crawled",
        },
    ]


def test_the_same_input_gives_the_same_bytes(tiny, tmp_path):
    first = tiny.prepare(tmp_path / "first.csv")[0].manifest.read_bytes()
    assert tiny.prepare(tmp_path / "second.csv")[0].manifest.read_bytes() == first


def test_positive_and_negative_patients_of_one_name_stay_two_patients(tiny):
    tiny.table("NonCOVID", NEGATIVE_HEADER, [["0", "1%0.jpg", "Patient 1"]])
    prepared, rows = tiny.prepare()
    assert [row["patient_id"] for row in rows] == ["covid/patient_1", "noncovid/patient_1"]
    assert prepared.patients == {"positive": 1, "negative": 1}


def test_padded_cells_name_the_same_patient(tiny):
    tiny.image("COVID", "a.png")
    tiny.split("COVID", "train", PREPRINT, "a.png")
    tiny.positive(
        [f" {PREPRINT} ", "Patient 180 ", " 41 ", "M ", "", "10.1016/ S0140-6736(20)30360-3 "],
        ["a.png", "patient  180", "41.0", "male", "", "https://doi.org/10.1136/bmj.m606"],
    )
    prepared, rows = tiny.prepare()
    assert prepared.notes == []
    assert prepared.patients["positive"] == 1
    assert [(row["age"], row["sex"], row["source"]) for row in rows[:2]] == [
        ("41", "M", "10.1016/S0140-6736(20)30360-3"),
        ("41", "M", "10.1136/bmj.m606"),
    ]


@pytest.mark.parametrize("age", ["40+", "30-40", "?", "Young Child", "nan", "-3", "1_0", "4e1"])
def test_an_age_that_is_no_number_is_left_empty_and_noted(tiny, age):
    tiny.positive([PREPRINT, "Patient 1", age, "F", "", ""])
    row, notes = tiny.only_positive()
    assert row["age"] == ""
    assert notes == [f"COVID-CT-MetaInfo.csv row 2: age '{age}' is not a number: left empty"]


@pytest.mark.parametrize(("age", "kept"), [("0", "0"), ("0.5", "0.5"), ("120", "120"), ("", "")])
def test_an_age_that_can_be_read_is_kept_without_a_note(tiny, age, kept):
    tiny.positive([PREPRINT, "Patient 1", age, "F", "", ""])
    row, notes = tiny.only_positive()
    assert (row["age"], notes) == (kept, [])


@pytest.mark.parametrize("age", ["121", "1980"])
def test_an_age_that_nobody_reaches_is_left_empty_and_noted(tiny, age):
    tiny.positive([PREPRINT, "Patient 1", age, "F", "", ""])
    row, notes = tiny.only_positive()
    assert row["age"] == ""
    assert notes == [f"COVID-CT-MetaInfo.csv row 2: age '{age}' is over 120: left empty"]


def test_a_sex_that_cannot_be_read_is_left_empty_and_noted(tiny):
    tiny.positive([PREPRINT, "Patient 1", "41", "x", "", ""])
    row, notes = tiny.only_positive()
    assert row["sex"] == ""
    assert notes == ["COVID-CT-MetaInfo.csv row 2: sex 'x' is neither M nor F: left empty"]


def test_a_doi_that_cannot_be_read_gives_way_to_the_file_name(tiny):
    tiny.positive([PREPRINT, "Patient 1", "41", "M", "", "see the paper"])
    row, notes = tiny.only_positive()
    assert row["source"] == "10.1101/2020.01.24.919183"
    assert notes == [
        "COVID-CT-MetaInfo.csv row 2: 'see the paper' is not a DOI: it is not used as the source"
    ]


def test_a_slice_from_nowhere_has_no_source_and_a_note(tiny):
    tiny.image("COVID", "a.png")
    tiny.split("COVID", "train", "a.png")
    tiny.positive(["a.png", "Patient 1", "41", "M", "", ""])
    row, notes = tiny.only_positive()
    assert row["source"] == ""
    assert (
        "COVID-CT-MetaInfo.csv row 2: nothing says where 'a.png' is from: source left empty"
    ) in notes


def test_images_without_a_patient_share_none(tiny):
    for name in ("a.png", "b.png", "c.png"):
        tiny.image("COVID", name)
    tiny.split("COVID", "train", "a.png", "b.png", "c.png", PREPRINT)
    tiny.positive(
        [PREPRINT, "Patient 1", "41", "M", "", ""],
        ["a.png", "", "", "", "", "10.1136/bmj.m606"],
        ["b.png", " ? ", "", "", "", "10.1136/bmj.m606"],
    )
    prepared, rows = tiny.prepare()
    assert [row["patient_id"] for row in rows if row["label"] == "1"] == [
        "covid/image/a.png",
        "covid/image/b.png",
        "covid/image/c.png",
        "covid/patient_1",
    ]
    assert prepared.patients["positive"] == 4
    assert prepared.notes == [
        "COVID-CT-MetaInfo.csv row 3: it has no patient: the image is a patient of its own",
        "COVID-CT-MetaInfo.csv row 4: it has no patient: the image is a patient of its own",
        "COVID-CT-MetaInfo.csv: it has no row for 'c.png': the image is a patient of its own",
    ]


def test_a_row_cut_short_is_read_as_far_as_it_goes(tiny):
    tiny.positive([PREPRINT, "Patient 1"], [], ["", "Patient 2", "", "", "", ""])
    row, notes = tiny.only_positive()
    assert (row["patient_id"], row["age"], row["sex"]) == ("covid/patient_1", "", "")
    assert notes == ["COVID-CT-MetaInfo.csv row 4: there is no file name: left out"]


def test_a_patient_row_given_twice_counts_the_first_time(tiny):
    tiny.positive(
        [PREPRINT, "Patient 1", "41", "M", "", ""], [PREPRINT, "Patient 2", "50", "F", "", ""]
    )
    row, notes = tiny.only_positive()
    assert (row["patient_id"], row["age"]) == ("covid/patient_1", "41")
    assert notes == [
        f"COVID-CT-MetaInfo.csv row 3: '{PREPRINT}' stands in COVID-CT-MetaInfo.csv row 2 already: "
        "left out"
    ]


def test_a_patient_of_two_sexes_is_kept_as_one_and_noted(tiny):
    tiny.image("COVID", "a.png")
    tiny.split("COVID", "train", PREPRINT, "a.png")
    tiny.positive(
        [PREPRINT, "Patient 1", "70", "M", "", ""],
        ["a.png", "Patient 1", "71", "F", "", "10.1136/bmj.m606"],
    )
    prepared, _ = tiny.prepare()
    assert prepared.patients["positive"] == 1
    assert prepared.notes == [
        "COVID-CT-MetaInfo.csv: 'covid/patient_1' has more than one age or sex (70, 71, F, M): "
        "perhaps several people, kept as one patient"
    ]


def test_a_patient_followed_over_a_birthday_needs_no_note(tiny):
    tiny.image("COVID", "a.png")
    tiny.split("COVID", "train", PREPRINT, "a.png")
    tiny.positive(
        [PREPRINT, "Patient 1", "70", "M", "", ""],
        ["a.png", "Patient 1", "71", "M", "", "10.1136/bmj.m606"],
    )
    assert tiny.prepare()[0].notes == []


def test_a_patient_in_two_splits_is_noted(tiny):
    tiny.image("COVID", "a.png")
    tiny.split("COVID", "test", "a.png")
    tiny.positive(
        [PREPRINT, "Patient 1", "41", "M", "", ""],
        ["a.png", "Patient 1", "41", "M", "", "10.1136/bmj.m606"],
    )
    [note] = tiny.prepare()[0].notes
    assert note.startswith("splits/COVID: 'covid/patient_1' is in train and test")


def test_a_listed_image_that_is_missing_keeps_its_row_for_quarantine(tiny):
    tiny.split("COVID", "val", "gone.png")
    tiny.positive(
        [PREPRINT, "Patient 1", "41", "M", "", ""],
        ["gone.png", "Patient 2", "", "", "", "10.1136/bmj.m606"],
    )
    prepared, rows = tiny.prepare()
    [gone] = [row for row in rows if row["path"].endswith("gone.png")]
    assert (gone["path"], gone["split"]) == ("images/CT_COVID/gone.png", "eval")
    assert prepared.notes == [
        "splits/COVID/valCT_COVID.txt row 1: 'gone.png' is not in images/CT_COVID: "
        "its row is kept, so that ingestion quarantines it"
    ]


def test_an_image_in_no_list_is_left_out_and_noted(tiny):
    tiny.image("NonCOVID", "extra.jpg")
    tiny.image("NonCOVID", ".DS_Store")
    tiny.image("NonCOVID", "Thumbs.db")
    prepared, rows = tiny.prepare()
    assert prepared.rows == len(rows) == 2
    assert prepared.notes == [
        "images/CT_NonCOVID/'extra.jpg' is in no list of splits/NonCOVID: left out"
    ]


def test_names_that_differ_in_padding_or_case_are_the_same_image(tiny):
    tiny.image("COVID", "A b, 50%1.PNG ")
    tiny.split("COVID", "train", "  a b, 50%1.png\t")
    tiny.positive(["a B, 50%1.png", "Patient 7", "41", "M", "", "10.1136/bmj.m606"])
    (tiny.root / "images" / "CT_COVID" / PREPRINT).unlink()
    row, notes = tiny.only_positive()
    assert row["path"] == "images/CT_COVID/A b, 50%1.PNG "
    assert row["patient_id"] == "covid/patient_7"
    assert notes == []


def test_a_name_with_another_extension_is_taken_and_noted(tiny):
    tiny.image("COVID", "a.jpg")
    tiny.split("COVID", "train", PREPRINT, "a.png")
    tiny.positive(
        [PREPRINT, "Patient 1", "41", "M", "", ""],
        ["a.jpeg", "Patient 2", "", "", "", "10.1136/bmj.m606"],
    )
    prepared, rows = tiny.prepare()
    assert rows[1]["path"] == "images/CT_COVID/a.jpg"
    assert rows[1]["patient_id"] == "covid/patient_2"
    assert prepared.notes == [
        "splits/COVID/trainCT_COVID.txt row 2: 'a.png' is not in images/CT_COVID: took 'a.jpg'",
        "COVID-CT-MetaInfo.csv row 3: 'a.jpeg' was read as 'a.png'",
    ]


def test_a_missing_image_never_takes_the_file_of_another_slice(tiny):
    tiny.image("NonCOVID", "14.png")
    tiny.split("NonCOVID", "train", "14.jpg", "14.png")
    tiny.table(
        "NonCOVID",
        NEGATIVE_HEADER,
        [["0", "14.jpg", "crawled_patient_14"], ["1", "14.png", "medpix_patient_3"]],
    )
    (tiny.root / "images" / "CT_NonCOVID" / "1%0.jpg").unlink()
    _, rows = tiny.prepare()
    assert [(row["path"], row["patient_id"]) for row in rows[1:]] == [
        ("images/CT_NonCOVID/14.jpg", "noncovid/crawled_patient_14"),
        ("images/CT_NonCOVID/14.png", "noncovid/medpix_patient_3"),
    ]


def test_an_image_listed_in_two_splits_lands_in_the_first_alone(tiny):
    tiny.split("COVID", "test", PREPRINT)
    row, notes = tiny.only_positive()
    assert row["split"] == "train"
    assert notes == [
        f"splits/COVID/testCT_COVID.txt row 1: '{PREPRINT}' stands in "
        "splits/COVID/trainCT_COVID.txt row 1 already: left out here"
    ]


def test_a_listed_path_cannot_leave_the_data_set(tiny):
    tiny.split("COVID", "val", "../../secret.png", "/etc/passwd")
    prepared, rows = tiny.prepare()
    assert len(rows) == 2
    assert prepared.notes == [
        "splits/COVID/valCT_COVID.txt row 1: '../../secret.png' is not the name of a file: "
        "left out",
        "splits/COVID/valCT_COVID.txt row 2: '/etc/passwd' is not the name of a file: left out",
    ]


def test_byte_order_marks_and_windows_line_ends_are_read(tiny):
    for path in (
        tiny.table_path("COVID"),
        tiny.table_path("NonCOVID"),
        tiny.split_path("COVID", "train"),
    ):
        text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text)
    prepared, rows = tiny.prepare()
    assert prepared.notes == []
    assert [row["patient_id"] for row in rows] == ["covid/patient_1", "noncovid/crawled_patient_1"]


def test_a_table_in_latin_1_is_read_and_noted(tiny):
    tiny.positive([PREPRINT, "Patient 1", "41", "M", "Besançon", ""])
    path = tiny.table_path("COVID")
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    row, notes = tiny.only_positive()
    assert row["patient_id"] == "covid/patient_1"
    assert notes == ["COVID-CT-MetaInfo.csv row 2: it is not UTF-8: the file was read as Latin-1"]


def test_a_table_without_a_wanted_column_leaves_it_empty_and_says_so(tiny):
    tiny.table("COVID", ["file name ", "PATIENT ID", "Gender"], [[PREPRINT, "Patient 1", "M"]])
    row, notes = tiny.only_positive()
    assert (row["patient_id"], row["age"], row["sex"]) == ("covid/patient_1", "", "M")
    assert notes == [
        "COVID-CT-MetaInfo.csv row 1: there is no column 'Age': left empty",
        "COVID-CT-MetaInfo.csv row 1: there is no column 'DOI': left empty",
    ]


@pytest.mark.parametrize("out", ["inside/manifest.csv", "manifest.csv", "../manifest.csv"])
def test_paths_are_relative_where_the_data_set_lies_in_the_manifests_folder(tiny, out):
    target = Path(os.path.normpath(tiny.root / out))
    prepared, rows = tiny.prepare(target)
    inside = tiny.root.is_relative_to(target.parent)
    for row in rows:
        assert (prepared.manifest.parent / row["path"]).is_file()
        assert Path(row["path"]).is_absolute() is not inside


def test_paths_resolve_when_the_manifests_folder_or_the_root_is_a_link(tiny, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "folder").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "folder" / "data").symlink_to(tiny.root)
    prepared = prepare_covid_ct(tmp_path / "folder" / "data", tmp_path / "folder" / "m.csv")
    for row in read_manifest(prepared.manifest):
        path = prepared.manifest.parent / row["path"]
        assert path.is_file()
        assert Path(os.path.normpath(path)).is_file()


def test_a_manifest_in_the_working_folder_keeps_its_relative_paths(tiny, monkeypatch):
    monkeypatch.chdir(tiny.root.parent)
    prepared = prepare_covid_ct(Path("covid-ct"), Path("manifest.csv"))
    assert read_manifest(prepared.manifest)[0]["path"] == f"covid-ct/images/CT_COVID/{PREPRINT}"


def test_a_root_without_the_layout_is_refused_in_one_line_that_helps(tiny):
    tiny.split_path("COVID", "val").unlink()
    tiny.table_path("NonCOVID").unlink()
    with pytest.raises(ConfigError) as caught:
        tiny.prepare()
    message = str(caught.value)
    assert "\n" not in message
    assert str(tiny.root) in message
    assert "it lacks splits/COVID/valCT_COVID.txt, NonCOVID-CT-MetaInfo.csv;" in message
    assert "UCSD-AI4H/COVID-CT" in message


def test_a_root_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="it lacks the folder itself; get UCSD-AI4H/COVID-CT"):
        prepare_covid_ct(tmp_path / "nowhere", tmp_path / "manifest.csv")
    assert not (tmp_path / "manifest.csv").exists()


def test_a_table_without_patients_is_refused(tiny):
    tiny.table("NonCOVID", ["image name"], [["1%0.jpg"]])
    with pytest.raises(ConfigError, match="has no column 'patient id'"):
        tiny.prepare()


def test_a_table_that_is_no_csv_is_refused(tiny):
    tiny.positive([PREPRINT, "x" * 200_000])
    with pytest.raises(ConfigError, match="cannot be read as CSV"):
        tiny.prepare()


def test_lists_that_name_nothing_are_refused(tiny):
    tiny.split("COVID", "train")
    tiny.split("NonCOVID", "train", "", "  ")
    with pytest.raises(ConfigError, match="name no image"):
        tiny.prepare()


def test_the_manifest_may_go_into_a_new_folder(tiny, tmp_path):
    prepared, _ = tiny.prepare(tmp_path / "new" / "folder" / "manifest.csv")
    assert prepared.manifest.is_file()


def test_an_out_that_is_a_folder_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="it is a folder; name a CSV file"):
        tiny.prepare(Path())


def test_a_manifest_that_cannot_be_written_is_refused_in_one_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*; choose another --out"):
        tiny.prepare(tmp_path / "file" / "manifest.csv")


def test_a_failed_write_leaves_the_old_manifest_and_no_rubbish(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out" / "manifest.csv"
    out.parent.mkdir()
    out.write_text("the old one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        tiny.prepare(out)
    assert out.read_text() == "the old one"
    assert list(out.parent.iterdir()) == [out]
