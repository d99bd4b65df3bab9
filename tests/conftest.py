"""What every test process needs before it imports anything else."""

# TFX puts a stand-in where tfx-bsl dropped a module that TFDV and TFMA still import.
import tfx.v1  # noqa: F401
