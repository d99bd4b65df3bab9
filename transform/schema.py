"""The curated schema of the CT example."""

from pathlib import Path

SCHEMA_FILE = Path(__file__).with_name("schema.pbtxt")
