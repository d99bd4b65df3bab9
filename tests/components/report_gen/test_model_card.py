import dataclasses

from components.report_gen.model_card import render_model_card
from components.report_gen.render import render_report


def test_the_card_says_what_the_model_is_not_for(not_pushed):
    card = render_model_card(not_pushed)
    assert "It is not a screening test, and not the sole way of diagnosing" in card
    assert "professionals" in card


def test_the_card_says_the_verdict_the_figures_the_threshold_and_the_assumed_window(not_pushed):
    card = render_model_card(not_pushed)
    assert "**Not pushed.** Specificity is 0.763; it must be at least 0.800." in card
    assert "| Sensitivity | 0.855 |" in card
    assert "| Slices | 60 |" in card
    assert "at least 0.400, chosen for a sensitivity of 0.90 on the validation split." in card
    assert (
        "1,000 resamples of the validation patients have a sensitivity of 0.810 to 0.970 and a "
        "specificity of 0.590 to 0.830."
    ) in card
    assert "(−1000 HU for black, 400 HU for white)" in card


def test_the_card_of_a_leaking_run_does_not_claim_that_the_test_split_was_unseen(not_pushed):
    assert "has seen" in render_model_card(not_pushed)
    leaking = render_model_card(dataclasses.replace(not_pushed, leaks=["Split by image."]))
    assert "has seen" not in leaking
    assert "- Split by image." in leaking


def test_names_in_the_card_are_text_and_not_markup(pushed):
    card = render_model_card(
        dataclasses.replace(pushed, destination="/a`b/\n# c", leaks=["<b>*x*</b>\n# y"])
    )
    assert "- Model: `` /a`b/ # c ``\n" in card
    assert r"- \<b\>\*x\*\</b\> \# y" in card


def test_the_card_is_written_beside_the_page(pushed, tmp_path):
    render_report(pushed, tmp_path)
    assert (tmp_path / "model_card.md").read_text() == render_model_card(pushed)
