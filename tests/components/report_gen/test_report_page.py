import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest

from components.report_gen.figures import draw_pictures
from components.report_gen.render import render_page, render_report
from components.serving_validator.outcome import ServingOutcome
from components.slice_evaluator.gate import BoundResult, LeakAlarm

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """The text a reader sees, what the page would fetch, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.fetched, self.ids, self.open, self.tags = "", [], [], [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
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
    trial = text[text.index("Trial in a server") : text.index("Intended use")]
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


def test_every_picture_has_a_title_and_says_in_words_what_it_shows(not_pushed):
    page = render_page(not_pushed)
    pictures = draw_pictures(not_pushed)
    assert len(pictures) == 6
    for picture in pictures:
        assert f"<figcaption>{picture.title}</figcaption>" in page
        assert f'<svg role="img" aria-label="{html.escape(picture.alt)}"' in page


def test_leaks_are_warned_of_before_the_figures_and_none_are_invented(not_pushed, changed):
    leak = "Slices were split by image."
    text = read_page(changed(not_pushed, leaks=[leak])).text
    assert text.index(leak) < text.index("Figures on the test split")
    assert "Warning" not in read_page(not_pushed).text


def test_what_training_cautions_of_stands_there_too(not_pushed, changed):
    training = dataclasses.replace(not_pushed.facts.training, cautions=["the AUC is chance"])
    text = read_page(changed(not_pushed, training=training)).text
    assert text.index("The AUC is chance.") < text.index("Figures on the test split")


def test_the_page_fetches_nothing_and_runs_nothing(pushed):
    page = read_page(pushed)
    assert page.fetched
    assert all(link.startswith("#") for link in page.fetched)
    assert "script" not in page.tags
    source = render_page(pushed)
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


def test_every_link_within_the_page_has_one_target(not_pushed):
    page = read_page(not_pushed)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.fetched} <= set(page.ids)


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", "a\"b' & <c>"])
def test_whatever_stands_in_names_is_shown_as_text(not_pushed, nasty, changed):
    predictions = dataclasses.replace(not_pushed.predictions)
    predictions.id[:] = nasty
    content = changed(
        not_pushed,
        name=nasty,
        destination=nasty,
        leaks=[nasty],
        predictions=predictions,
        quarantined=[dataclasses.replace(not_pushed.quarantined[0], path=nasty, detail=nasty)],
        config={nasty: {nasty: nasty}},
    )
    page = read_page(content)
    assert "script" not in page.tags
    assert page.text.count(nasty) >= 7


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
