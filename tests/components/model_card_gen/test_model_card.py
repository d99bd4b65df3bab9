"""The card says what a run knows, and nothing that it does not know."""

import dataclasses
import re

import pytest
from markdown_it import MarkdownIt

from components.model_card_gen import licences
from components.model_card_gen.card import render_model_card
from components.model_card_gen.markdown import code
from components.model_card_gen.sections import SECTIONS
from components.run_facts.lineage import Lineage
from components.slice_evaluator.gate import BoundResult
from components.slice_evaluator.measured import Figure
from trainer import weights
from transform.training_record import EpochRecord


def test_the_card_says_what_the_model_is_not_for(refused):
    card = render_model_card(refused)
    assert "It is not a screening test, and not the sole way of diagnosing" in card
    assert "professionals" in card
    assert "no radiographs" in card


def test_the_card_says_verdict_figures_threshold_and_the_assumed_window(refused):
    card = render_model_card(refused)
    assert "**Refused by the gate.** Specificity is 0.763; it must be at least 0.800." in card
    assert "| Specificity | 0.763 | at least 0.800 | no |" in card
    assert "| Number | 60 | 30 |" in card
    figure = refused.evaluation.overall.patients.figures["sensitivity"]
    interval = f"{figure.value:.3f} ({figure.lower:.3f} to {figure.upper:.3f})"
    assert re.search(rf"\| Sensitivity \| 0\.855 \(.*\) \| {re.escape(interval)} \|", card)
    assert "at least 0.400, chosen for a sensitivity of 0.90 on the validation split." in card
    assert (
        "1,000 resamples of the validation patients have a sensitivity of 0.810 to 0.970 and a "
        "specificity of 0.590 to 0.830."
    ) in card
    assert "(−1000 HU for black, 400 HU for white)" in card


def test_the_card_of_a_model_that_passed_says_so(passed):
    assert "**Passed the gate.** Every bound of the gate holds." in render_model_card(passed)


@pytest.mark.parametrize("facts", ["refused", "passed", "well_known"])
def test_every_card_has_every_section_and_no_table_is_torn(facts, request, sections):
    found = sections(request.getfixturevalue(facts))
    assert tuple(one for one in found if one != "Warnings") == SECTIONS
    for title, text in found.items():
        assert text.strip(), title
        # A row that is no row of its table is a paragraph with bars.
        assert "|" not in text, title
    widths = [
        {row.count("<td>") for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]}
        for table in re.findall(r"<table>(.*?)</table>", "".join(found.values()), re.DOTALL)
    ]
    assert len(widths) >= 6
    assert all(len(width) == 1 for width in widths)


def test_a_leaking_run_does_not_claim_that_the_test_split_was_unseen(refused, changed):
    assert "has seen" in render_model_card(refused)
    leaking = render_model_card(changed(refused, leaks=["Split by image."]))
    assert "has seen" not in leaking
    assert "stands in two splits" not in leaking
    assert "- Split by image." in leaking


def test_a_leak_that_ingestion_found_counts_like_one_that_the_configuration_allows(refused):
    outcome = dataclasses.replace(refused.outcome, leaks={"test+train": 2})
    card = render_model_card(dataclasses.replace(refused, outcome=outcome))
    assert "- 2 patients stand in test and train." in card
    assert "has seen" not in card


def test_a_leak_between_training_and_validation_leaves_the_test_split_unseen(refused):
    outcome = dataclasses.replace(
        refused.outcome, leaks={"eval+train": 2}, group_leaks={"eval+train": 1}
    )
    card = render_model_card(dataclasses.replace(refused, outcome=outcome))
    assert "- 2 patients stand in eval and train." in card
    assert "which neither training nor calibration has seen" in card
    assert "training and validation are not apart" in card
    assert "No patient stands in two splits" not in card
    assert "too good: see" not in card


def test_an_alarm_that_was_accepted_is_a_warning_and_one_that_is_off_is_said_to_be(passed, changed):
    assert "it was turned off" in render_model_card(passed)
    alarm = dataclasses.replace(
        passed.evaluation.leak_alarm,
        above=0.98,
        patients=60,
        suspicious=True,
        accepted=True,
        says="accuracy 0.99",
    )
    card = render_model_card(changed(passed, leak_alarm=alarm))
    assert "It went off, and was accepted." in card
    assert "The leak alarm went off and was accepted: accuracy 0.99." in card
    quiet = dataclasses.replace(alarm, suspicious=False, accepted=False, says=None)
    assert "It did not go off." in render_model_card(changed(passed, leak_alarm=quiet))
    few = dataclasses.replace(quiet, patients=30)
    assert "too few patients for it" in render_model_card(changed(passed, leak_alarm=few))


NASTY = "<b>*x*</b>|[a](b)\n# y `z` ~~no~~"


def test_names_in_the_card_are_text_and_not_markup(well_known, changed, split_of):
    spoiled = changed(
        well_known,
        name=NASTY,
        leaks=[NASTY],
        splits={**well_known.splits, "test": split_of(NASTY)},
        lineage=Lineage(NASTY, NASTY, NASTY),
        bounds=[BoundResult(NASTY, 0.5, 0.6, True)],
    )
    html = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render(render_model_card(spoiled))
    )
    for markup in ("<b>", "<em>", "<a ", "<h1># y", "<del>", "<s>"):
        assert markup not in html
    shown = "&lt;b&gt;*x*&lt;/b&gt;|[a](b) # y `z` ~~no~~"
    assert html.count(shown) >= 5


def test_names_bring_neither_control_characters_nor_links(well_known, changed, split_of):
    nasty = "\x1b[31m\u202ehttps://a.example/x"
    facts = changed(
        well_known,
        name=nasty,
        leaks=[nasty],
        splits={**well_known.splits, "test": split_of(nasty)},
        lineage=Lineage(nasty, nasty, nasty),
    )
    card = render_model_card(facts)
    assert not {"\x1b", "\u202e"} & set(card)
    # What a renderer that links bare addresses looks for is in code only, where nothing is linked.
    assert "://" not in re.sub("`.*?`", "", card)
    html = MarkdownIt("commonmark").enable("table").render(card)
    assert html.count(r"\x1b[31m\u202ehttps://a.example/x") >= 4


def test_nothing_as_code_is_said_to_be_nothing():
    assert (code(""), code(" \n")) == ("`not recorded`", "`not recorded`")


def test_figures_say_which_intervals_are_exact_and_which_say_nothing(refused, changed, sections):
    overall = refused.evaluation.overall
    certain = dataclasses.replace(
        overall.slices, figures={**overall.slices.figures, "auc": Figure(1.0, 1.0, 1.0)}
    )
    facts = changed(refused, overall=dataclasses.replace(overall, slices=certain))
    shown = sections(facts)["Performance on the test split"]
    assert "<td>1.000 (no spread in the resamples)</td>" in shown
    assert "fewer than 5 patients are on one side" in shown


def test_splits_are_shown_with_who_is_in_them(well_known, sections):
    data = sections(well_known)["Data"]
    cells = ["Training", "191", "234", "30", "45 from the scanner, 15 assumed"]
    cells += ["40 F, 20 unknown", "20 to 81, median 48 (50 known)", "ward (60)"]
    assert "\n".join(f"<td>{cell}</td>" for cell in cells) in data


def test_of_a_split_that_nobody_counted_only_the_slices_are_known(refused, sections):
    data = sections(refused)["Data"]
    cells = ["Training", "191", "234", *["unknown"] * 5]
    assert "\n".join(f"<td>{cell}</td>" for cell in cells) in data
    # The evaluation has counted the patients of the test split.
    assert "\n".join(f"<td>{cell}</td>" for cell in ["Test", "30", "30", "30"]) in data


def test_copies_are_not_called_slices(refused):
    outcome = dataclasses.replace(refused.outcome, copied={"0": 40, "1": 30})
    card = render_model_card(dataclasses.replace(refused, outcome=outcome))
    assert "Training: 191 positive and 234 negative copies" in card
    assert "augmented copies of 30 positive and 40 negative slices" in card


def test_small_groups_are_marked_and_many_are_cut_short(well_known, changed, sections):
    groups = sections(well_known)["Groups"]
    assert "<td>Sex: F</td>" in groups
    assert "<td>Sex: M (small)</td>" in groups
    overall = well_known.evaluation.overall
    few = dataclasses.replace(
        overall, small=True, patients=dataclasses.replace(overall.patients, count=2)
    )
    many = {"ward": overall} | {f"paper {number:02d}": few for number in range(20)}
    cut = sections(changed(well_known, groups={"source": many}))["Groups"]
    assert cut.count("<td>Source: ") == 8
    assert "<td>Source: ward</td>" in cut
    assert "Source: 13 further groups, of 2 patients at most" in cut


def test_groups_stand_by_size_and_bands_of_age_by_age(well_known, changed, sections):
    overall = well_known.evaluation.overall

    def of(patients):
        return dataclasses.replace(
            overall, patients=dataclasses.replace(overall.patients, count=patients)
        )

    groups = {
        "age": {">=80": of(2), "unknown": of(9), "40-59": of(4), "<40": of(1)},
        "source": {"clinic": of(3), "ward": of(7)},
    }
    shown = sections(changed(well_known, groups=groups))["Groups"]
    names = re.findall(r"<td>(?:Age|Source): (.*?)</td>", shown)
    assert names == ["&lt;40", "40-59", "&gt;=80", "unknown", "ward", "clinic"]


def test_a_grouping_that_is_unknown_has_no_figures_of_its_own(refused, sections):
    groups = sections(refused)["Groups"]
    assert "Source: unknown for every test slice." in groups
    assert "<td>Source" not in groups


def test_limits_name_who_was_not_tested(refused, changed, sections):
    limits = sections(refused)["Limits"]
    assert "by sex: men." in limits
    assert "by age: the test split does not say it" in limits
    overall = refused.evaluation.overall
    old = sections(changed(refused, groups={"age": {">=80": overall}}))["Limits"]
    assert "of the group younger than 40" in old
    assert "by sex: the test split does not say it" in old


@pytest.mark.parametrize(
    ("group", "says"), [("assumed", "on true Hounsfield units"), ("calibrated", "on pictures")]
)
def test_limits_say_which_kind_of_hounsfield_units_was_not_tested(
    refused, changed, sections, group, says
):
    assert "it was not tested" not in sections(refused)["Limits"]
    overall = refused.evaluation.overall
    limits = sections(changed(refused, groups={"hounsfield": {group: overall}}))["Limits"]
    assert f"{says} it was not tested" in limits


def test_predictive_values_are_said_to_be_of_the_test_mixture(refused, sections):
    confusion = refused.evaluation.overall.slices.confusion
    share = 100 * (confusion["tp"] + confusion["fn"]) / 60
    performance = sections(refused)["Performance on the test split"]
    assert f"{share:.0f} % of the test slices" in performance
    assert "for that mixture only" in performance


def test_calibration_says_temperature_and_errors(refused, sections):
    calibration = sections(refused)["Calibration and operating point"]
    brier = refused.evaluation.overall.slices.figures["brier"]
    for shown in ("1.375", "0.091 before, 0.047 after", f"Brier score {brier.value:.3f} ("):
        assert shown in calibration


def test_probes_are_shown_only_where_somebody_looked(refused, well_known, sections):
    assert "the run had no probes" in sections(refused)["Shortcut probes"]
    shown = sections(well_known)["Shortcut probes"]
    assert "A shortcut." in shown
    assert "0.700 (0.620 to 0.780)" in shown
    harmless = dataclasses.replace(
        well_known,
        probes=dataclasses.replace(well_known.probes, probes=well_known.probes.probes[:1]),
    )
    assert "No probe found a shortcut." in sections(harmless)["Shortcut probes"]


def test_the_last_blessed_model_is_compared_only_where_there_is_one(refused, well_known, sections):
    title = "Comparison with the last blessed model"
    assert "no earlier blessed model" in sections(refused)[title]
    shown = sections(well_known)[title]
    assert "0.060 (0.011 to 0.109)" in shown
    assert "a p value of 0.021;" in shown
    assert "p value 0.344" in shown
    assert "7 are decided rightly by this model alone" in shown


def test_a_tiny_p_value_is_not_zero(well_known, changed, sections):
    overall = well_known.evaluation.overall
    patients = overall.comparison.patients
    sure = dataclasses.replace(patients.delong, p_value=2e-5)
    comparison = dataclasses.replace(
        overall.comparison, patients=dataclasses.replace(patients, delong=sure)
    )
    facts = changed(well_known, overall=dataclasses.replace(overall, comparison=comparison))
    shown = sections(facts)["Comparison with the last blessed model"]
    assert "a p value of below 0.001;" in shown
    assert "0.000" not in shown


@pytest.mark.parametrize(
    ("lineage", "says"),
    [
        (Lineage(weights="/home/radiologist-7/.keras/b3.h5"), "ImageNet"),
        (Lineage(parent="/home/radiologist-7/pipeline/Trainer/model/7"), "an earlier model"),
        (Lineage(), "ImageNet"),
    ],
)
def test_licences_follow_from_what_training_began_with(well_known, sections, lineage, says):
    found = sections(dataclasses.replace(well_known, lineage=lineage))
    assert says in found["Licences"]
    assert "does not know the terms of the data" in found["Licences"]


def test_weights_of_a_file_have_terms_that_nobody_knows(well_known, changed, sections, config):
    for began_with, says in (
        ("/home/radiologist-7/own.h5", "the file own.h5, whose terms ctnet does not know"),
        ("none", "no terms of pretrained weights apply"),
    ):
        other = {**config, "model": {**config["model"], "weights": began_with}}
        facts = changed(well_known, config=other, lineage=Lineage(weights=began_with))
        found = sections(facts)
        assert says in found["Licences"]
        assert "ImageNet" not in found["Licences"]


def test_sources_that_are_publications_are_told_from_others(
    well_known, changed, sections, split_of
):
    assert "DOI" not in sections(well_known)["Licences"]
    splits = {**well_known.splits, "train": split_of("10.1148/radiol.2020200490")}
    found = sections(changed(well_known, splits=splits))
    assert "named by their DOI" in found["Licences"]
    assert "Slices from publications" in found["Limits"]


def test_the_card_keeps_the_folders_of_the_machine_to_itself(well_known):
    made = dataclasses.replace(
        well_known, lineage=Lineage("d4t4", "c0de", "/home/radiologist-7/.keras/models/b3.h5")
    )
    card = render_model_card(made)
    assert "`b3.h5`" in card
    assert "radiologist-7" not in card
    parent = Lineage("d4t4", "c0de", None, "/home/radiologist-7/w/pipeline/Trainer/model/7")
    card = render_model_card(dataclasses.replace(well_known, lineage=parent))
    assert "`Trainer/model/7`" in card
    assert "radiologist-7" not in card


def test_lineage_says_seed_and_versions_where_they_are_recorded(refused):
    card = render_model_card(refused)
    assert "- Seed: `not recorded`" in card
    training = dataclasses.replace(refused.training, seed=7)
    card = render_model_card(dataclasses.replace(refused, training=training))
    for shown in ("- Seed: `7`", "`0123abcd`", "`feed`", "- tfx: `1.21.0`"):
        assert shown in card


def test_the_network_for_trying_a_pipeline_is_for_no_patient(well_known, changed, sections, config):
    assert "Any patient" not in sections(well_known)["Not for"]
    other = {**config, "model": {**config["model"], "backbone": "tiny"}}
    assert "Any patient" in sections(changed(well_known, config=other))["Not for"]


def test_the_model_is_described_as_it_was_configured_and_trained(
    well_known, changed, sections, config
):
    model = sections(well_known)["Model"]
    for shown in ("EfficientNetB3", "its mirror image", "224 x 224", "best AUC", "inverse"):
        assert shown in model
    other = {
        **config,
        "model": {**config["model"], "flip_average": False},
        "train": {"class_weights": True, "examples_per_class": 5000, "early_stopping": 0},
    }
    epochs = [EpochRecord("fine-tuning", 1, {"loss": 0.5})]
    training = dataclasses.replace(
        well_known.training, epochs=epochs, global_batch_size=16, learning_rate=6e-4
    )
    model = sections(changed(well_known, config=other, training=training))["Model"]
    for shown in (
        "there is no ensemble",
        "The last epoch",
        "draws 5,000 slices of each class",
        "Training took 1 epoch, batches of 16 slices, a learning rate of 0.0006 at most.",
    ):
        assert shown in model


def test_weights_have_the_names_that_the_trainer_gives_them():
    assert (licences.IMAGENET, licences.NONE) == (weights.IMAGENET, weights.NONE)
