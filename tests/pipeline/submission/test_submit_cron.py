import pytest

from pipeline.submission.cron import kubeflow_cron
from transform.errors import ConfigError


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/15 8-18 * * MON-FRI", "0 */15 8-18 * * MON-FRI"),
        ("30 0 3 1,15 * ?", "30 0 3 1,15 * ?"),
        ("0 3 1 jan,JUL *", "0 0 3 1 jan,JUL *"),
        ("0 0-23/6 * * 0", "0 0 0-23/6 * * 0"),
        ("  0   3 * * *  ", "0 0 3 * * *"),
        ("@daily", "@daily"),
    ],
)
def test_a_crontabs_fields_get_the_seconds_that_kubeflow_wants(expression, wanted):
    assert kubeflow_cron(expression) == wanted


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "* * * * FRI-MON",
        "5-1 * * * *",
        "*/0 * * * *",
        "*-5 * * * *",
        "1,, * * * *",
        "JAN * * * *",
        "@reboot",
        "@every 1h",
    ],
)
def test_what_kubeflow_would_misread_or_refuse_is_refused_here(expression):
    with pytest.raises(ConfigError, match="--cron"):
        kubeflow_cron(expression)
