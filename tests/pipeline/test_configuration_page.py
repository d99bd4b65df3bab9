import re
from pathlib import Path

from pipeline.config_reference import configuration_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_on_configuration_says_what_the_code_does():
    assert PAGE.read_text() == configuration_page(), (
        "write it anew: python -m pipeline.config_reference > docs/configuration.md"
    )


def test_the_page_names_the_keys_of_a_section_that_is_off_and_the_limits_of_a_choice():
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*)$", configuration_page(), re.MULTILINE))
    assert rows["split.augment_first"].startswith("section or `null` | `null` |")
    assert rows["split.augment_first.examples_per_class"].startswith("integer, > 0 | `5000` |")
    assert rows["split.augment_first.rotation"] == rows["train.augmentation.rotation"]
    assert rows["gate.operating_point"].startswith("`sensitivity`, `youden` or number (> 0, < 1)")
