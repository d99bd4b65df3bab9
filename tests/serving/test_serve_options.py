"""`ctnet serve`: options that cannot be are refused by their names before anything is loaded."""

import pytest

from serving.serve_command import serve
from transform.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"queue_limit": 0}, "--queue-limit is 0: "),
        ({"max_batch_size": -1}, "--max-batch-size is -1: "),
        ({"batch_threads": 0}, "--batch-threads is 0: "),
        ({"max_request_rows": 0}, "--max-request-rows is 0: "),
        ({"max_pending_bytes": 0}, "--max-pending-bytes is 0: "),
        ({"rest_timeout": 0.0}, "--rest-timeout is 0.0: "),
        ({"port": 8520, "rest_port": 8520}, "both 8520: "),
    ],
)
def test_an_option_that_cannot_be_is_named(tmp_path, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        serve(tmp_path, **options)


@pytest.mark.parametrize("options", [{"port": 0, "rest_port": 0}, {"port": 8501, "no_rest": True}])
def test_one_number_for_both_ports_may_be_any_or_of_grpc_alone(tmp_path, options):
    with pytest.raises(ConfigError, match="no whole model version"):
        serve(tmp_path, **options)
