"""What a person sees of training while it runs."""

import io

import pytest

from pipeline.terminal import RunDisplay
from trainer.progress import TrainingProgress

FIGURES = {"loss": 0.5121, "auc": 0.8004}


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def progress(step=0, seconds_left=None, **changes):
    facts = {"metrics": FIGURES, "finished": False, **changes}
    return TrainingProgress("fine-tuning", 17, 30, step, 27, seconds_left=seconds_left, **facts)


def shown(err, *heard):
    display = RunDisplay()
    display.open(io.StringIO(), err)
    display.step_begun("Trainer", 7, 12)
    for one in heard:
        display.training_progress(one)
    display.close()
    return err.getvalue()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return FakeTerminal()


def test_a_terminal_of_80_columns_shows_loss_auc_and_time_left(terminal):
    text = shown(terminal, progress(1), progress(2, 4325.4))
    for wanted in ("fine-tuning epoch 17/30", "loss 0.512  auc 0.800", "1:12:05 left"):
        assert wanted in text


def test_a_log_gets_a_line_an_epoch_and_none_a_step():
    end = progress(27, 4000.0, finished=True, metrics={**FIGURES, "val_auc": 0.75})
    text = shown(io.StringIO(), progress(1), progress(2, 4325.4), end)
    wanted = "fine-tuning epoch 17/30 loss 0.512 auc 0.800 val_auc 0.750"
    assert " ".join(text.split()) == wanted


def test_training_that_goes_on_says_where():
    text = shown(io.StringIO(), progress(resumed=True, metrics={}))
    assert text.strip() == "training goes on at fine-tuning epoch 17/30"
