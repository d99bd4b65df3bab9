from pathlib import Path

from pipeline.config_reference import configuration_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_on_configuration_says_what_the_code_does():
    assert PAGE.read_text() == configuration_page(), (
        "write it anew: python -m pipeline.config_reference > docs/configuration.md"
    )
