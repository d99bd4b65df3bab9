import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from components.report_gen.figures import draw_pictures
from components.report_gen.performance import interval_of
from components.report_gen.render import render_page, render_report
from components.report_gen.slice_pictures import SlicePictures
from components.report_gen.step_times import StepTime
from components.serving_validator.outcome import ServingOutcome
from components.slice_evaluator.figures import FIGURES
from components.slice_evaluator.gate import BoundResult, LeakAlarm
from components.slice_evaluator.measured import Figure

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """The text a reader sees, what the page would fetch, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.fetched, self.ids, self.open, self.tags = "", [], [], [], set()
        self.headings, self.images = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(dict(attrs))
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


def read_page(content):
    page = Page(render_page(content))
    page.text = " ".join(page.text.split())
    return page


def test_a_pushed_model_is_announced_with_its_version_and_place(pushed):
    text = read_page(pushed).text
    assert "Pushed as version 1749890012" in text
    assert "/srv/serving/ctnet/1749890012" in text
    assert "Every bound of the gate holds." in text


def test_a_model_that_failed_is_announced_with_the_failed_bound_its_value_and_nothing_else(
    not_pushed,
):
    text = read_page(not_pushed).text
    assert "Not pushed" in text
    assert "Specificity is 0.763; it must be at least 0.800." in text
    assert "Sensitivity is" not in text


def test_a_value_just_below_its_bound_does_not_look_like_the_bound(not_pushed, changed):
    bounds = [BoundResult("sensitivity", 0.8, 0.79996, passed=False)]
    text = read_page(changed(not_pushed, bounds=bounds)).text
    assert "Sensitivity is 0.79996; it must be at least 0.80000." in text


def test_a_blessed_model_that_was_not_pushed_is_not_blamed_on_the_gate(pushed):
    content = dataclasses.replace(pushed, pushed=False, version=None, destination=None)
    text = read_page(content).text
    assert "The gate let the model pass, but it was not pushed" in text


def test_a_model_that_a_server_trial_refused_is_announced_with_the_reason(pushed):
    refused = ServingOutcome("a slice takes 61 ms, more than <50>", 16, 3e-8, 61.0)
    content = dataclasses.replace(
        pushed, serving=refused, pushed=False, version=None, destination=None
    )
    text = read_page(content).text
    assert "the trial in a server did not: a slice takes 61 ms, more than <50>." in text
    assert "log says why" not in text
    assert "Not to be served: a slice takes 61 ms, more than <50>." in text


def test_a_model_that_failed_gate_and_trial_is_announced_with_both(not_pushed):
    refused = ServingOutcome("the server did not start: out of memory", 16)
    text = read_page(dataclasses.replace(not_pushed, serving=refused)).text
    assert "Specificity is 0.763; it must be at least 0.800." in text
    assert "The trial in a server failed, too: the server did not start: out of memory." in text
    assert "Largest difference" not in text


def test_the_trial_in_a_server_is_shown_with_its_figures_and_only_where_there_was_one(pushed):
    text = read_page(pushed).text
    trial = text[text.index("Trial in a server") : text.index("The worst mistakes")]
    for shown in ("asked about16", "probabilities1.2e-07", "median41 ms", "as it was evaluated"):
        assert shown in trial
    without = read_page(dataclasses.replace(pushed, serving=None))
    assert "Trial in a server" not in without.text
    assert "serving" not in without.ids


def test_the_page_shows_the_figures_the_data_and_the_facts_of_training(not_pushed):
    text = read_page(not_pushed).text
    for shown in ("0.855", "0.763", "0.861", "234", "191", "1.375", "0.091 → 0.047", "unreadable"):
        assert shown in text
    assert "window (−1000 HU for black, 400 HU for white)" in text
    assert "chosen for a sensitivity of 0.90 on the validation split" in text
    assert "not a screening test, and not the sole way" in text


def test_every_picture_has_a_title_and_says_in_words_what_it_shows(full_content):
    page = render_page(full_content)
    pictures = [one for part in draw_pictures(full_content).values() for one in part]
    assert len(pictures) == 12
    for picture in pictures:
        assert f"<figcaption>{picture.title}</figcaption>" in page
        assert f'<svg role="img" aria-label="{escape(picture.alt)}"' in page


def test_the_parts_of_the_page_come_in_their_order(full_content):
    page = read_page(full_content)
    order = [
        *("warnings", "figures", "gate", "comparison", "data", "curves", "decisions"),
        *("calibration", "groups", "prevalence", "training", "serving", "probes", "slices"),
        *("lineage", "steps", "model-card", "configuration"),
    ]
    assert [one for one in page.ids if one in order] == order
    assert {one[1:] for one in page.fetched if one.startswith("#")} >= set(order[1:])


def test_headings_leave_out_no_level(full_content):
    headings = read_page(full_content).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_every_figure_is_there_with_its_interval_for_slices_and_patients(not_pushed):
    text = read_page(not_pushed).text
    overall = not_pushed.facts.evaluation.overall
    for unit in (overall.slices, overall.patients):
        for name in FIGURES:
            found = unit.figures[name]
            assert f"{found.value:.3f} {interval_of(found)}" in text, name


def test_the_comparison_has_patients_first_and_both_tests(full_content, compared):
    text = read_page(full_content).text
    part = text[text.index("Against the last blessed") : text.index("Slices by split and class")]
    assert part.index("Patients") < part.index("Slices")
    for paired in (compared.patients, compared.slices):
        assert f"{paired.auc.difference:+.3f}".replace("-", "−") in part
        assert f"{paired.delong.lower:.3f}".replace("-", "−") in part
        assert f"right about {paired.mcnemar.only_candidate_right} " in part


def test_without_an_earlier_model_there_is_nothing_to_compare_with(not_pushed):
    text = read_page(not_pushed).text
    assert "There was no earlier blessed model to compare with." in text
    assert "DeLong" not in text[: text.index("Model card The same")]


def test_small_groups_are_marked_and_unknown_ones_named(not_pushed):
    text = read_page(not_pushed).text
    part = text[text.index("Groups of fewer") : text.index("Predictive values where")]
    women = not_pushed.facts.evaluation.groups["sex"]["F"]
    assert f"F {women.patients.count} {women.slices.count} " in part
    assert part.count("small") == 2  # the explanation, and the men
    assert "M small" in part
    assert "Unknown of every slice: source." in part


def test_without_groups_there_is_no_part_of_them(not_pushed, changed):
    page = read_page(changed(not_pushed, groups={}))
    assert "groups" not in page.ids
    assert "#groups" not in page.fetched


def test_the_probes_are_there_with_interval_sentence_and_mark(full_content):
    text = read_page(full_content).text
    part = text[text.index("Shortcut probes ✗") : text.index("The worst mistakes")]
    assert "A shortcut was found" in part
    assert "Unaltered slices 0.861 0.790 to 0.920 As they are." in part
    assert "Only the border left ✗ suspicious 0.770 0.680 to 0.850 Marks." in part
    assert "in 3 no lung was found" in part


def test_without_probes_there_is_no_part_of_them(not_pushed):
    page = read_page(not_pushed)
    assert "probes" not in page.ids
    assert "#probes" not in page.fetched


def test_slices_are_shown_with_what_the_model_said_of_them(full_content):
    page = read_page(full_content)
    chosen = list(full_content.chosen)
    assert len(page.images) == len(chosen)
    for one, image in zip(chosen, page.images, strict=True):
        label, decision = (("negative", "positive")[value] for value in (one.label, one.decision))
        assert image["alt"] == (
            f"Slice {one.id}: {label}, called {decision} at a probability of "
            f"{one.probability:.3f}, with the evidence for COVID-19 marked."
        )
        assert f"{label}, called {decision} at {one.probability:.3f}" in page.text


def test_slices_that_cannot_be_drawn_are_named_and_it_is_said_why(full_content, changed):
    content = changed(full_content, pictures=SlicePictures({}, ["The model <cannot> explain."]))
    page = read_page(content)
    assert not page.images
    assert "The model <cannot> explain." in page.text
    assert all(one.id in page.text for one in content.chosen)


def test_a_report_without_slices_has_no_picture_of_a_patient(not_pushed):
    page = read_page(not_pushed)
    assert not page.images
    assert "The report was not given the slices" in page.text
    assert "it shows slices of patients" not in page.text
    # Names are there all the same.
    assert "ids of slices and paths of files may name patients" in page.text


def test_a_page_with_pictures_of_patients_says_so(full_content):
    assert "it shows slices of patients" in read_page(full_content).text


def test_steps_have_their_seconds_and_those_from_the_cache_are_marked(full_content):
    text = read_page(full_content).text
    assert "CTExampleGen12.2 from the cache" in text or "CTExampleGen 12.2 from the cache" in text
    assert re.search("Trainer ?61.0 made anew", text)
    assert re.search("all ?73.2", text)


@pytest.mark.parametrize(
    ("steps", "said"),
    [(None, "the platform that ran them shows"), ([], "The runner left no times")],
)
def test_where_no_times_are_known_the_page_says_so(full_content, steps, said):
    assert said in read_page(dataclasses.replace(full_content, steps=steps)).text


def test_step_times_cannot_bring_markup(full_content):
    steps = [StepTime("<script>", 1.0, cached=False)]
    page = read_page(dataclasses.replace(full_content, steps=steps))
    assert "script" not in page.tags


def test_what_was_dropped_because_of_a_leak_is_told(not_pushed, changed):
    outcome = dataclasses.replace(
        not_pushed.facts.outcome,
        quarantined={"leaked_patient": 7, "leaked_group": 2},
        leaks={"test+train": 3},
        group_leaks={"eval+test": 1},
        duplicates=5,
        conflicts=1,
    )
    text = read_page(changed(not_pushed, outcome=outcome)).text
    assert "3 patients in test and training" in text
    assert "1 group of patients with a picture in common in validation and test" in text
    assert "9 slices of these were dropped" in text
    # They were kept: nothing of theirs is in quarantine.
    assert "5 groups of near-identical slices under one label, and 1 under two labels." in text


def test_leaks_that_were_kept_are_called_so(not_pushed, changed):
    outcome = dataclasses.replace(not_pushed.facts.outcome, leaks={"test+train": 1})
    text = read_page(changed(not_pushed, outcome=outcome)).text
    assert "1 patient in test and training" in text
    assert "All of them were kept: what a model saw before it knows in the test." in text


def test_a_leak_between_training_and_validation_is_not_said_to_touch_the_test(not_pushed, changed):
    outcome = dataclasses.replace(not_pushed.facts.outcome, leaks={"eval+train": 1})
    text = read_page(changed(not_pushed, outcome=outcome)).text
    assert "All of them were kept: what a model saw in training it knows in the validation" in text
    assert "it knows in the test" not in text
    assert "too good" not in text


def test_predictive_values_are_there_at_five_prevalences(not_pushed):
    text = read_page(not_pushed).text
    part = text[text.index("PPV, patients") : text.index("How the operating point")]
    assert [one in part for one in ("1 %", "5 %", "10 %", "20 %", "50 %")] == [True] * 5


def test_lineage_says_what_the_model_was_made_from(not_pushed):
    text = read_page(not_pushed).text
    before = text[: text.index("Package versions")]
    part = before[before.rindex("Lineage") :]
    for known in ("0123abcd", "feed", "imagenet"):
        assert known in part


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.1)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_that_wcag_asks_for(not_pushed, dark):
    style = render_page(not_pushed).partition("<style>")[2].partition("</style>")[0]
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1 if dark else 0]))
    for text in ("text", "muted", "good", "bad", "warn"):
        assert contrast(colours[text], colours["page"]) >= 4.5, text
    for tone in ("good", "bad", "warn"):
        assert contrast(colours[tone], colours[f"{tone}-soft"]) >= 4.5, tone
        assert contrast(colours["text"], colours[f"{tone}-soft"]) >= 4.5, tone


def test_leaks_are_warned_of_before_the_figures_and_none_are_invented(not_pushed, changed):
    leak = "Slices were split by image."
    text = read_page(changed(not_pushed, leaks=[leak])).text
    assert text.index(leak) < text.index("Figures on the test split")
    assert "Warning" not in read_page(not_pushed).text


def test_what_training_cautions_of_stands_there_too(not_pushed, changed):
    training = dataclasses.replace(not_pushed.facts.training, cautions=["the AUC is chance"])
    text = read_page(changed(not_pushed, training=training)).text
    assert text.index("The AUC is chance.") < text.index("Figures on the test split")


def test_the_page_fetches_nothing_and_runs_nothing(full_content):
    page = read_page(full_content)
    assert any(link.startswith("data:image/jpeg;base64,") for link in page.fetched)
    assert all(link.startswith(("#", "data:")) for link in page.fetched)
    assert "script" not in page.tags
    source = render_page(full_content)
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


def test_every_link_within_the_page_has_one_target(full_content):
    page = read_page(full_content)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.fetched if link.startswith("#")} <= set(page.ids)


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", "a\"b' & <c>"])
def test_whatever_stands_in_names_is_shown_as_text(not_pushed, nasty, changed, with_predictions):
    rows = [dataclasses.replace(one, id=nasty) for one in not_pushed.chosen]
    whole = not_pushed.facts.evaluation.overall
    content = changed(
        with_predictions(not_pushed, rows),
        name=nasty,
        destination=nasty,
        leaks=[nasty],
        groups={"source": {nasty: whole}},
        quarantined=[dataclasses.replace(not_pushed.quarantined[0], path=nasty, detail=nasty)],
        config={nasty: {nasty: nasty}},
    )
    page = read_page(content)
    assert "script" not in page.tags
    assert page.text.count(nasty) >= 7


def test_control_characters_and_marks_of_direction_are_shown_as_escapes(
    not_pushed, changed, with_predictions
):
    nasty = "\x1b[31mred\u202egnp\x00"
    rows = [dataclasses.replace(one, id=nasty) for one in not_pushed.chosen]
    content = changed(
        with_predictions(not_pushed, rows),
        name=nasty,
        groups={"source": {nasty: not_pushed.facts.evaluation.overall}},
        quarantined=[dataclasses.replace(not_pushed.quarantined[0], path=nasty, detail=nasty)],
    )
    source = render_page(content)
    assert not {"\x1b", "\u202e", "\x00"} & set(source)
    assert Page(source).text.count(r"\x1b[31mred\u202egnp\x00") >= 5


def test_an_interval_without_width_is_not_shown_as_a_range(not_pushed, changed):
    overall = not_pushed.facts.evaluation.overall
    certain = dataclasses.replace(
        overall.slices, figures={**overall.slices.figures, "auc": Figure(1.0, 1.0, 1.0)}
    )
    text = read_page(changed(not_pushed, overall=dataclasses.replace(overall, slices=certain))).text
    assert "AUC 1.000 no spread" in text
    assert "all resamples gave the same value, which is no certainty" in text
    assert "1.000 to 1.000" not in text


def test_the_page_says_which_intervals_are_exact(not_pushed):
    assert "no narrower than Clopper and Pearson's exact one" in read_page(not_pushed).text


def test_nobody_is_told_that_an_earlier_model_is_served_where_none_may_be(not_pushed):
    text = read_page(not_pushed).text
    assert "What was served before, if anything, still is." in text


def test_the_first_of_many_quarantined_slices_are_called_the_first(not_pushed, changed):
    outcome = dataclasses.replace(not_pushed.facts.outcome, quarantined={"unreadable": 5000})
    text = read_page(changed(not_pushed, outcome=outcome)).text
    assert "The first 1 slices in quarantine" in text
    assert "5,000" in text


def test_the_same_content_gives_the_same_bytes(not_pushed, tmp_path):
    first = render_report(not_pushed, tmp_path / "first").read_bytes()
    assert render_report(not_pushed, tmp_path / "second").read_bytes() == first


def test_an_older_report_is_replaced_and_nothing_else_is_left_in_the_folder(pushed, tmp_path):
    (tmp_path / "index.html").write_text("old")
    page = render_report(pushed, tmp_path)
    assert page == tmp_path / "index.html"
    assert "Pushed as version" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "model_card.md"]


def alarmed(content, *, accepted):
    alarm = LeakAlarm(0.98, 0.991, 60, True, accepted, "accuracy 0.9910 is <too> high", ["Copies."])
    refused = [] if accepted else [BoundResult("leak_alarm", None, 0.991, False, at_most=0.98)]
    facts = content.facts
    evaluation = dataclasses.replace(facts.evaluation, bounds=refused, leak_alarm=alarm)
    facts = dataclasses.replace(facts, evaluation=evaluation, blessed=accepted)
    return dataclasses.replace(content, facts=facts)


def test_a_leak_alarm_says_what_to_look_for(not_pushed):
    page = render_page(alarmed(not_pushed, accepted=False))
    assert "Accuracy, by the leak alarm, is 0.991; it must be at most 0.980." in page
    assert "Look for: Copies." in page
    assert "at most 0.980</td>" in page


def test_a_leak_alarm_that_was_accepted_stands_among_the_warnings(pushed):
    page = render_page(alarmed(pushed, accepted=True))
    assert "The leak alarm went off and was accepted: accuracy 0.9910 is &lt;too&gt; high." in page
    assert "Look for: Copies." not in page


def test_a_bound_of_a_groups_patients_is_named_in_words(not_pushed, changed):
    bound = BoundResult("patient_sensitivity_lower[sex=F]", 0.8, 0.71, passed=False)
    content = changed(not_pushed, bounds=[bound])
    said = "Sensitivity of patients, lower end of the 95 % interval (sex=F) is 0.710"
    assert said in render_page(content)
