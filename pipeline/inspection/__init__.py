"""What `ctnet inspect` shows of a data set before any training."""

from pipeline.inspection.answer import to_json
from pipeline.inspection.findings import Findings, gather
from pipeline.inspection.page import write_page
from pipeline.inspection.terminal import print_inspection

__all__ = ["Findings", "gather", "print_inspection", "to_json", "write_page"]
