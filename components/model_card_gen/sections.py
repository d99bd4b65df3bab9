"""The sections of a model card, so that its checklist can point at them."""

INTENDED_USE = "Intended use"
NOT_FOR = "Not for"
MODEL = "Model"
DATA = "Data"
LICENCES = "Licences"
GATE = "Gate"
PERFORMANCE = "Performance on the test split"
GROUPS = "Groups"
CALIBRATION = "Calibration and operating point"
SHORTCUTS = "Shortcut probes"
COMPARISON = "Comparison with the last blessed model"
LIMITS = "Limits"
LINEAGE = "Lineage"
CHECKLISTS = "Reporting checklists"

SECTIONS = (
    INTENDED_USE,
    NOT_FOR,
    MODEL,
    DATA,
    LICENCES,
    GATE,
    PERFORMANCE,
    GROUPS,
    CALIBRATION,
    SHORTCUTS,
    COMPARISON,
    LIMITS,
    LINEAGE,
    CHECKLISTS,
)
"""In the order in which a card has them."""
