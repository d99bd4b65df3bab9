from pathlib import Path

from transform.reading import Reason

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quarantine.md"


def test_every_reason_of_the_quarantine_is_documented():
    documented = {
        line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")
    }
    assert documented == {reason.value for reason in Reason}
