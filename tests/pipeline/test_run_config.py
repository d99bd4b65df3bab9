"""The configuration of a run, and the one line a user reads when it is wrong."""

from pathlib import Path

import pydantic
import pytest

from pipeline.config import AugmentationConfig, RunConfig, load_config, parse_config
from transform.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def refusal(values, assignments=None):
    with pytest.raises(ConfigError) as error:
        parse_config(values, assignments)
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_comes_with_ctnet_loads(path):
    assert load_config(path).name == path.stem


def test_there_are_the_configurations_the_readme_names():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= {"demo", "covid_ct", "paper"}


def test_defaults_are_those_of_the_architecture_page():
    config = RunConfig()
    assert config.hounsfield.window == (-1000.0, 400.0)
    assert (config.transform.hu_min, config.transform.hu_max) == (-1000.0, 400.0)
    assert config.transform.zero_centre == "fitted"
    assert config.transform.image_size == 224
    assert config.split.by == "patient"
    assert config.model.weights == "imagenet"
    assert config.train.strategy == "auto"
    assert config.train.examples_per_class is None
    assert "--runner=FnApiRunner" in config.beam.args


def test_the_paper_s_configuration_has_the_paper_s_numbers():
    config = load_config(CONFIGS / "paper.yaml")
    assert config.transform.zero_centre == 0.25
    assert config.model.head == "paper"
    assert (config.train.learning_rate, config.train.batch_size, config.train.epochs) == (
        5e-5,
        16,
        100,
    )
    # Augmented first, split then, and not augmented again.
    assert config.split.augment_first.examples_per_class == 5000
    assert config.split.augment_first.rotation > 0
    assert config.train.examples_per_class is None
    assert config.train.augmentation == AugmentationConfig()
    assert config.split.by == "image"
    assert config.split.ignore_manifest
    assert config.split.train + config.split.eval == pytest.approx(0.8)


def test_an_empty_file_and_empty_sections_mean_the_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    for text in ("", "# nothing\n", "train:\n  # epochs: 3\nmodel:\n", "train:\n  augmentation:\n"):
        path.write_text(text)
        assert load_config(path) == RunConfig()
    path.write_text("train:\n")
    assert load_config(path, ["train.epochs=3"]).train.epochs == 3


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"trian": {}}, "trian: no such key; did you mean train?"),
        ({"train": {"epoch": 3}}, "train.epoch: no such key; did you mean train.epochs?"),
        (
            {"train": {"augmentation": {"rotate": 3}}},
            "train.augmentation.rotate: no such key; did you mean train.augmentation.rotation?",
        ),
        (
            {"split": {"by": "image", "augment_first": {"rotate": 3}}},
            "split.augment_first.rotate: no such key; did you mean split.augment_first.rotation?",
        ),
        (
            {"split": {"augment_frist": None}},
            "split.augment_frist: no such key; did you mean split.augment_first?",
        ),
    ],
)
def test_an_unknown_key_suggests_the_near_one(values, line):
    assert refusal(values) == line


def test_an_unknown_key_like_no_other_lists_those_that_there_are():
    line = refusal({"hounsfield": {"zzz": 1}})
    assert line == "hounsfield.zzz: no such key; known here: window"


def test_a_span_may_be_written_as_a_number():
    assert parse_config({"ingest": {"span": 7}}).ingest.span == "7"
    assert parse_config({}, ["ingest.span=12"]).ingest.span == "12"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": {"epochs": "many"}}, ["train.epochs: 'many'", "valid integer"]),
        ({"train": {"epochs": 2.5}}, ["train.epochs: 2.5", "valid integer"]),
        ({"train": {"epochs": True}}, ["train.epochs: True", "valid integer"]),
        ({"train": {"epochs": 0}}, ["train.epochs: 0", "greater than 0"]),
        ({"train": {"augmentation": {"flip": 1}}}, ["train.augmentation.flip: 1", "boolean"]),
        ({"model": {"head": "big"}}, ["model.head: 'big'", "one of gap, paper"]),
        ({"model": {"dropout": 1.0}}, ["model.dropout: 1.0", "less than 1"]),
        ({"transform": {"zero_centre": "mean"}}, ["zero_centre: 'mean'", "fitted or a number"]),
        ({"transform": {"zero_centre": True}}, ["zero_centre: True", "fitted or a number"]),
        ({"transform": {"image_size": 16}}, ["transform.image_size: 16", "equal to 32"]),
        ({"gate": {"operating_point": "best"}}, ["'best'", "sensitivity, youden or a number > 0"]),
        ({"gate": {"operating_point": 1.5}}, ["operating_point: 1.5", "a number > 0, < 1"]),
        ({"gate": {"operating_point": True}}, ["operating_point: True", "sensitivity, youden or"]),
        ({"gate": {"min_sensitivity": 1.2}}, ["min_sensitivity.value: 1.2", "or equal to 1"]),
        ({"gate": {"min_sensitivity": "high"}}, ["min_sensitivity: 'high'", "number >= 0, <= 1"]),
        ({"gate": {"min_sensitivity": True}}, ["min_sensitivity: True", "value, lower_bound, of"]),
        ({"gate": {"min_specificity": {"of": "lungs"}}}, ["of: 'lungs'", "slices, patients"]),
        (
            {"gate": {"min_specificity": {"value": 0.8, "every_group_of": 0}}},
            ["gate.min_specificity.every_group_of: 0", "greater than 0"],
        ),
        ({"gate": {"leak_alarm": 98}}, ["gate.leak_alarm: 98", "or equal to 1"]),
        ({"evaluate": {"resamples": 0}}, ["evaluate.resamples: 0", "greater than 0"]),
        (
            {"split": {"augment_first": {"examples_per_class": "many"}}},
            ["split.augment_first.examples_per_class: 'many'", "valid integer"],
        ),
        (
            {"split": {"augment_first": {"rotation": 181}}},
            ["split.augment_first.rotation: 181", "equal to 180"],
        ),
        ({"split": {"augment_first": 5000}}, ["augment_first: 5000", "section with keys such as"]),
        ({"split": {"augment_first": True}}, ["augment_first: True", "section with keys such as"]),
        ({"beam": {"args": ["--a", 3]}}, ["beam.args: 3", "valid string"]),
        ({"name": "My Run"}, ["name: 'My Run'", "pattern"]),
        ({"ingest": {"span": "oldest"}}, ["ingest.span: 'oldest'", "newest", "last:K"]),
        ({"ingest": {"slices": "every:0"}}, ["ingest.slices: 'every:0'", "middle:N"]),
        ({"seed": -1}, ["seed: -1", "greater than or equal to 0"]),
        ({"model": "tiny"}, ["model: 'tiny'", "section with keys such as backbone"]),
        ({"train": [1]}, ["train: [1]", "section with keys such as epochs"]),
        ({"hounsfield": {"window": [1]}}, ["hounsfield.window"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_would_be_right(values, said):
    line = refusal(values)
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": 2**32}, "seed: 4294967296 must be below 2**32"),
        (
            {"gate": {"min_sensitivity": {"value": 0.8, "lower_bound": 0.7}}},
            "gate.min_sensitivity: give value or lower_bound, not both",
        ),
        (
            {"gate": {"min_sensitivity": {"of": "patients"}}},
            "gate.min_sensitivity: give value or lower_bound, one of both is needed",
        ),
        ({"hounsfield": {"window": [400, -1000]}}, "hounsfield: the window's first number"),
        ({"transform": {"hu_min": 500}}, "transform: hu_min must be below hu_max"),
        ({"split": {"train": 0.9}}, "split: train, eval and test must add up to 1, not 1.2"),
        (
            {"split": {"augment_first": {"flip": True}}},
            "split: augment_first reproduces the paper and needs by: image; to augment the "
            "training split alone, use train.augmentation and train.examples_per_class",
        ),
        (
            {"model": {"head": "paper"}, "transform": {"image_size": 96}},
            "model.head: paper pools 4 x 4 features and needs transform.image_size >= 97",
        ),
        (
            {"model": {"backbone": "tiny"}},
            "model.backbone: tiny has no pretrained weights; set model.weights: none",
        ),
        (
            {"model": {"backbone": "tiny", "weights": "weights.h5"}},
            "model.backbone: tiny has no pretrained weights; set model.weights: none",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(values, said):
    assert refusal(values).startswith(said)


def test_the_tiny_backbone_without_weights_is_fine():
    assert parse_config({"model": {"backbone": "tiny", "weights": "none"}}).model.weights == "none"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1e999"])
@pytest.mark.parametrize(
    "key", ["train.learning_rate", "transform.hu_max", "transform.zero_centre"]
)
def test_what_is_not_a_finite_number_is_refused(key, value):
    section, name = key.split(".")
    assert key in refusal({section: {name: value}})
    assert key in refusal({}, [f"{key}={value if value == '1e999' else '.nan'}"])


def test_several_mistakes_are_counted():
    assert refusal({"seed": -1, "train": {"epochs": 0, "batch_size": 0}}).endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("train.epochs=2", lambda config: config.train.epochs == 2),
        ("train.learning_rate=1e-3", lambda config: config.train.learning_rate == 1e-3),
        ("train.learning_rate=5.0e-05", lambda config: config.train.learning_rate == 5e-5),
        ("train.learning_rate=1", lambda config: config.train.learning_rate == 1.0),
        ("train.augmentation.flip=true", lambda config: config.train.augmentation.flip is True),
        ("hounsfield.window=[-1350, 150]", lambda config: config.hounsfield.window == (-1350, 150)),
        ("beam.args=[--runner=X]", lambda config: config.beam.args == ["--runner=X"]),
        ("transform.zero_centre=0.25", lambda config: config.transform.zero_centre == 0.25),
        ("model.weights=/data/a=b.h5", lambda config: config.model.weights == "/data/a=b.h5"),
        ("model.weights=none", lambda config: config.model.weights == "none"),
        ("model.batch_norm_momentum=null", lambda config: config.model.batch_norm_momentum is None),
        ("gate.operating_point=0.4", lambda config: config.gate.operating_point == 0.4),
        ("gate.operating_point=youden", lambda config: config.gate.operating_point == "youden"),
        (
            "train.augmentation={rotation: 15, flip: true}",
            lambda config: config.train.augmentation == AugmentationConfig(rotation=15, flip=True),
        ),
        ("name=hospital-a", lambda config: config.name == "hospital-a"),
    ],
)
def test_set_takes_numbers_lists_and_nested_keys(assignment, read):
    assert read(parse_config({}, [assignment]))


@pytest.mark.parametrize("written", [{}, {"augment_first": None}, {"augment_first": {}}])
def test_set_reaches_into_a_section_that_is_off_by_default(written):
    values = {"split": {"by": "image", **written}}
    config = parse_config(values, ["split.augment_first.examples_per_class=500"])
    assert config.split.augment_first.examples_per_class == 500


def test_set_switches_an_optional_section_off_and_on_again():
    values = {"split": {"by": "image", "augment_first": {"flip": True}}}
    off = ["split.augment_first=null", "split.by=patient"]
    assert parse_config(values, off).split.augment_first is None
    again = parse_config(values, ["split.augment_first=null", "split.augment_first.shift=0.1"])
    assert (again.split.augment_first.flip, again.split.augment_first.shift) == (False, 0.1)


def test_a_later_set_wins_over_an_earlier_one_and_over_the_file():
    values = {"train": {"epochs": 9, "batch_size": 4}}
    config = parse_config(values, ["train.epochs=2", "train.epochs=3"])
    assert (config.train.epochs, config.train.batch_size) == (3, 4)
    assert values == {"train": {"epochs": 9, "batch_size": 4}}


@pytest.mark.parametrize("assignment", ["train.epochs", "=3", "train..epochs=3", ""])
def test_set_without_key_or_value_says_how_to_write_it(assignment):
    assert "write it as key=value" in refusal({}, [assignment])


def test_set_below_a_key_that_is_no_section_says_which():
    line = refusal({"name": "a"}, ["name.first=b"])
    assert line == "--set name.first=b: name is not a section"


def test_set_of_an_unknown_key_suggests_the_near_one():
    assert "did you mean train.epochs?" in refusal({}, ["train.epoch=2"])


@pytest.mark.parametrize(
    ("text", "assignment", "blamed"),
    [
        ("train: {epochs: 2}", "train.epochs=many", "--set: train.epochs: 'many'"),
        ("train: {epochs: 2}", "train.epochs", "--set train.epochs: write it as"),
        ("train: {epochs: many}", "seed=1", "{path}: train.epochs: 'many'"),
    ],
)
def test_what_is_wrong_is_blamed_on_the_file_or_on_set(tmp_path, text, assignment, blamed):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(path, [assignment])
    assert str(refused.value).startswith(blamed.format(path=path))


def test_numbers_without_a_point_before_the_exponent_count_as_numbers_in_files(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train: {learning_rate: 5e-5}\n")
    assert load_config(path).train.learning_rate == 5e-5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: [1, 2\n", "cannot be read as YAML"),
        ("train:\n\tepochs: 3\n", "cannot be read as YAML"),
        ("- train\n", "must hold keys and values, not a list"),
        ("epochs\n", "must hold keys and values, not a str"),
        ("train: {epochs: x}\n", "train.epochs: 'x'"),
        ("!!python/object/apply:os.getcwd []\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_its_name(tmp_path, text, said):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert said in line
    assert "\n" not in line


def test_a_file_that_is_not_there_or_not_text_is_one_line_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.yaml: no such file"):
        load_config(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(tmp_path / "run.yaml")


def test_nothing_changes_a_configuration_once_it_is_checked():
    config = RunConfig()
    with pytest.raises(pydantic.ValidationError):
        config.train.epochs = 1
    with pytest.raises(pydantic.ValidationError):
        config.name = "b"


def test_a_minimum_is_a_number_or_says_what_of_which():
    assert parse_config({}).gate.min_sensitivity.value == 0.8
    given = parse_config({"gate": {"min_sensitivity": 1, "min_specificity": {"value": 0.7}}}).gate
    assert (given.min_sensitivity.value, given.min_specificity.value) == (1.0, 0.7)
    bound = {"lower_bound": 0.75, "of": "patients", "every_group_of": 20}
    given = parse_config({"gate": {"min_sensitivity": bound}}).gate.min_sensitivity
    assert given.model_dump() == {"value": None, **bound}


def test_one_key_of_a_minimum_can_be_set_where_the_file_has_a_number():
    values = {"gate": {"min_sensitivity": 0.9}}
    given = parse_config(values, ["gate.min_sensitivity.of=patients"]).gate.min_sensitivity
    assert (given.value, given.of) == (0.9, "patients")
    both = ["gate.min_sensitivity.lower_bound=0.7", "gate.min_sensitivity.value=null"]
    assert parse_config(values, both).gate.min_sensitivity.lower_bound == 0.7
    whole = parse_config(values, ["gate.min_sensitivity={lower_bound: 0.6}"]).gate
    assert whole.min_sensitivity.lower_bound == 0.6
