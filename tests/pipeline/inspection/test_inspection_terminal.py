import io

from rich.console import Console

from pipeline.inspection import print_inspection


def printed(job, **settings):
    out = io.StringIO()
    print_inspection(job.gather(**settings), Console(file=out, width=120))
    return out.getvalue()


def test_the_terminal_shows_the_verdict_counts_quarantine_leaks_and_confounds(job):
    for patient in range(60):
        job.accept(
            f"slice{patient}",
            patient_id=f"patient{patient}",
            label=patient % 2,
            split=("train", "eval", "test")[patient // 20],
            format="jpeg" if patient % 2 else "png",
        )
    job.accept("again", patient_id="patient0", label=0, split="test")
    job.quarantine("bad.png", "coloured_marks")
    job.duplicate(["a", "b"])
    job.leak(["patient0"], train=1, test=1)
    job.leak(["p0123456789abcdef0123"], train=1, eval=1)
    text = printed(job)
    assert text.startswith("61 of 62 slices can be used, but a run would stop\n")
    for shown in (
        "p0123456789…",
        "10 (10)",
        "coloured_marks",
        "jpeg",
        "64 × 64",
        "patient0",
        "1 train, 1 test",
    ):
        assert shown in text
    assert "one label" in text
    assert "1.00–1.00" in text


def test_names_are_printed_as_text_and_not_as_markup_or_control(job):
    job.accept("a", source="[bold red]clinic[/]", mode="\x1b[31mL")
    job.quarantine("[link]x[/link].png", "unreadable")
    text = printed(job)
    assert "[bold red]clinic[/]" in text
    assert "[link]x[/link].png" in text
    assert "\x1b" not in text


def test_nothing_at_all_is_printed_as_such(job):
    assert printed(job).startswith("0 of 0 slices can be used, but a run would stop")
