"""The probes' AUCs beside that of the slices as they are."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from components.report_gen.interval_plot import ROW_HEIGHT, PlottedRow, Series, paint_rows
from components.report_gen.picture import BLUE, GREY, Picture, draw
from components.run_facts.wording import number
from components.shortcut_probes.outcome import PLAIN, Probe, ProbeResults
from components.slice_evaluator.measured import Figure as Measured


def _measured(probe: Probe) -> Measured:
    known = (probe.auc, probe.low, probe.high)
    return Measured(*(math.nan if one is None else one for one in known))


def draw_probes(results: ProbeResults) -> Picture:
    """AUC and interval of every probe."""
    rows = [PlottedRow(probe.title, [_measured(probe)]) for probe in results.probes]
    plain = next((_measured(one).value for one in results.probes if one.name == PLAIN), math.nan)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1.2, label="by chance")
        if not math.isnan(plain):
            axes.axvline(
                plain, color=GREY, linestyle="--", linewidth=1.2, label="slices as they are"
            )
        paint_rows(axes, rows, [Series("AUC", BLUE, "o")])
        axes.set(xlim=(-0.02, 1.02))
        figure.legend(loc="outside lower center", ncols=3)

    said = [f"{probe.title} {number(_measured(probe).value, 2)}" for probe in results.probes]
    size = (4.6, 0.9 + ROW_HEIGHT * len(rows))
    return draw("probes-picture", "AUC by probe", f"AUCs: {'; '.join(said)}.", paint, size)
