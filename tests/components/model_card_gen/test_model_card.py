from components.model_card_gen.card import render_model_card


def test_the_card_says_what_the_model_is_not_for(refused):
    card = render_model_card(refused)
    assert "It is not a screening test, and not the sole way of diagnosing" in card
    assert "professionals" in card


def test_the_card_says_the_verdict_the_figures_the_threshold_and_the_assumed_window(refused):
    card = render_model_card(refused)
    assert "**Refused by the gate.** Specificity is 0.763; it must be at least 0.800." in card
    assert "| Sensitivity | 0.855 |" in card
    assert "| Slices | 60 |" in card
    assert "at least 0.400, chosen for a sensitivity of 0.90 on the validation split." in card
    assert (
        "1,000 resamples of the validation patients have a sensitivity of 0.810 to 0.970 and a "
        "specificity of 0.590 to 0.830."
    ) in card
    assert "(−1000 HU for black, 400 HU for white)" in card


def test_the_card_of_a_leaking_run_does_not_claim_that_the_test_split_was_unseen(refused, changed):
    assert "has seen" in render_model_card(refused)
    leaking = render_model_card(changed(refused, leaks=["Split by image."]))
    assert "has seen" not in leaking
    assert "- Split by image." in leaking


def test_names_in_the_card_are_text_and_not_markup(passed, changed):
    card = render_model_card(changed(passed, leaks=["<b>*x*</b>\n# y"]))
    assert r"- \<b\>\*x\*\</b\> \# y" in card


def test_the_card_of_a_model_that_passed_says_so(passed):
    assert "**Passed the gate.** Every bound of the gate holds." in render_model_card(passed)
