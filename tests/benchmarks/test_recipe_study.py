"""The study of the training recipe: its rows, its base, and the configuration that came of it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.recipe import tables
from benchmarks.recipe.study import CHOSEN, ROWS, Study, recipe_of
from benchmarks.recipe.training import SECONDS
from pipeline.config import load_config
from trainer.calibration import fit_temperature, probabilities
from transform.training_record import TrainingRecord

LABELS = np.array([0, 0, 1, 1])
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def study(folder, epochs=12):
    return Study(folder / "manifest.csv", "imagenet", folder, epochs, 224)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_configuration_and_all_but_the_first_differ_from_it(row, tmp_path):
    recipes = [recipe_of(study(tmp_path).config(name, 0)) for name in ("base", row)]
    assert (recipes[0] == recipes[1]) == (row == "base")


def test_the_configuration_that_ships_is_the_row_that_was_chosen(tmp_path):
    row, epochs = CHOSEN
    shipped = load_config(CONFIGS / "covid_ct.yaml")
    assert recipe_of(shipped) == recipe_of(study(tmp_path, epochs).config(row, shipped.seed))


def test_a_folder_of_another_recipe_is_refused(tmp_path, monkeypatch):
    here = study(tmp_path)
    folder = here.claim("no-smoothing", 0)
    assert here.claim("no-smoothing", 0) == folder
    monkeypatch.setitem(ROWS, "no-smoothing", ["train.label_smoothing=0.01"])
    with pytest.raises(SystemExit, match="not what row no-smoothing is trained with now; remove"):
        here.claim("no-smoothing", 0)


def leave_training(folder, plain, averaged, *, resumed_from=None):
    answers = {"plain": plain, "averaged": averaged, "labels": LABELS, "patients": LABELS}
    folder.mkdir(parents=True)
    np.savez(folder / "validation.npz", **answers)
    (folder / SECONDS).write_text("90")
    TrainingRecord(
        epochs=[],
        training_slices=(2, 2),
        centre=0.25,
        temperature=1.0,
        calibration_error=(0.2, 0.1),
        negative_log_likelihood=(0.7, 0.5),
        threshold=0.5,
        operating_point=None,
        validation={"auc": 0.0},
        seed=0,
        replicas=1,
        global_batch_size=16,
        learning_rate=1e-3,
        resumed_from=resumed_from,
    ).write(str(folder / "run"))


def test_the_table_has_both_ways_of_asking_over_the_seeds(tmp_path, capsys):
    here = study(tmp_path)
    right, half_right = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0, 3.0])
    leave_training(here.training("base", 0), right, half_right)
    leave_training(here.training("base", 1), half_right, half_right, resumed_from=3)
    tables.print_validation(here, ["base"], [0, 1])
    *_, row = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # What a resumed training took is not known.
    assert cells == [
        "base",
        "0.750 ± 0.000",
        "0.875 ± 0.177",
        "0.500 ± 0.000",
        "0.200 ± 0.000",
        "0.100 ± 0.000",
        "1.5",
    ]


def test_operating_points_are_chosen_on_the_answers_of_validation(tmp_path):
    here = study(tmp_path)
    answers = np.array([-2.0, -1.0, 1.0, 2.0])
    leave_training(here.training("base", 0), -answers, answers)
    thresholds = tables._thresholds(here, "base", 0)
    assert list(thresholds) == ["Youden", "sensitivity 0.9", "0.5"]
    # The averaged answers separate the classes, and the plain ones the wrong way round.
    stated = probabilities(answers, fit_temperature(answers, LABELS))
    for rule in ("Youden", "sensitivity 0.9"):
        assert ((stated >= thresholds[rule]) == LABELS).all()
