"""The reliability diagram: how often slices of a stated probability are positive."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from components.report_gen.picture import BLUE, GREY, Picture, draw, draw_nothing, unit_square
from components.run_facts.wording import count, number
from components.slice_evaluator.answers import Answers

_BINS = 10


def draw_reliability(answers: Answers) -> Picture:
    """The diagram of the test split's slices, over ten equal bins."""
    name, title = "reliability", "Reliability on the test split"
    if not len(answers):
        return draw_nothing(name, title, "no prediction was made")
    if not np.isfinite(answers.probability).all():
        return draw_nothing(name, title, "some probabilities are not finite")
    which = np.minimum((answers.probability * _BINS).astype(int), _BINS - 1)
    bins = np.unique(which)
    stated = np.array([answers.probability[which == one].mean() for one in bins])
    observed = np.array([answers.label[which == one].mean() for one in bins])
    sizes = np.array([(which == one).sum() for one in bins])

    def paint(figure: Figure) -> None:
        axes = unit_square(figure, "stated probability", "share that is positive")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="calibrated")
        axes.plot(stated, observed, color=BLUE, linewidth=1.2, alpha=0.6)
        # The share of slices shows as the dot's area.
        axes.scatter(
            stated,
            observed,
            s=20 + 300 * sizes / sizes.sum(),
            color=BLUE,
            clip_on=False,
            label="model; the larger, the more slices",
        )
        figure.legend(loc="outside lower center", ncols=2)

    said = [
        f"{number(at, 2)} stated, {number(seen, 2)} observed ({count(size, 'slice')})"
        for at, seen, size in zip(stated.tolist(), observed.tolist(), sizes.tolist(), strict=True)
    ]
    return draw(name, title, f"Reliability diagram on the test split: {'; '.join(said)}.", paint)
