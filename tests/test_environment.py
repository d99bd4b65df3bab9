"""What the locked environment must hold for anything else to work."""

import tfx.components
import tfx.v1 as tfx


def test_no_tfx_component_became_none_because_an_import_failed():
    for module in (tfx.components, tfx.v1.components if hasattr(tfx, "v1") else tfx.components):
        missing = [name for name in dir(module) if getattr(module, name) is None]
        assert missing == []
