"""CLAIM, the Checklist for Artificial Intelligence in Medical Imaging, update of 2024.

Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300. Numbers and order are theirs,
words are ours.
"""

from __future__ import annotations

from components.model_card_gen import answers, sections
from components.model_card_gen.answers import REPORT, answered, partly, user
from components.model_card_gen.checklist_item import Asked

NAME = "CLAIM 2024"

_OVERALL = f"{sections.PERFORMANCE}; {sections.CALIBRATION}"

ITEMS = (
    Asked("1", "Title", "kind of AI in the title", user("deep learning, in the title")),
    Asked("2", "Abstract", "summary of the study", user("design, methods, results, conclusions")),
    Asked(
        "3",
        "Introduction",
        "background and intended role",
        partly(sections.INTENDED_USE, "the clinical question, and what is done without a model"),
    ),
    Asked("4", "Introduction", "aims and hypotheses", user("what the study was to show")),
    Asked("5", "Study design", "prospective or retrospective", user("which of both, and when")),
    Asked("6", "Study design", "goal of the study", user("making, testing or trying out a model")),
    Asked("7", "Data", "sources", answers.data_sources),
    Asked(
        "8",
        "Data",
        "who is included and excluded",
        partly(sections.DATA, "who was eligible; here is only what could not be read or used"),
    ),
    Asked("9", "Data", "preprocessing", answers.preprocessing),
    Asked(
        "10",
        "Data",
        "choice of subsets",
        partly(REPORT, "which series and slices were put into the manifest, and by whom"),
    ),
    Asked("11", "Data", "de-identification", answers.deidentification),
    Asked("12", "Data", "missing data", answered(sections.DATA)),
    Asked(
        "13",
        "Data",
        "acquisition of the images",
        user("scanners, tube voltage, dose, thickness, kernel, contrast agent"),
    ),
    Asked(
        "14",
        "Reference standard",
        "how labels were made",
        user("RT-PCR, readers or follow-up, and how long before or after the scan"),
    ),
    Asked("15", "Reference standard", "why so", user("why this reference, and its errors")),
    Asked("16", "Reference standard", "who made the labels", user("their number and training")),
    Asked("17", "Reference standard", "labels of the test split", user("whether made another way")),
    Asked(
        "18", "Reference standard", "agreement of readers", user("agreement, within and between")
    ),
    Asked("19", "Data partitions", "how splits were drawn", answers.assignment),
    Asked("20", "Data partitions", "level at which they are apart", answers.disjointness),
    Asked(
        "21",
        "Testing data",
        "size of the sample",
        partly(sections.PERFORMANCE, "how the number of test patients was chosen"),
    ),
    Asked("22", "Model", "description of the model", answers.model_description),
    Asked("23", "Model", "software and versions", answers.libraries),
    Asked("24", "Model", "initial weights", answers.initialization),
    Asked("25", "Training", "how it was trained", answers.training_approach),
    Asked(
        "26",
        "Training",
        "choice of the final model",
        partly(
            f"{sections.MODEL}; {sections.GATE}",
            "how many configurations were tried, and on which split",
        ),
    ),
    Asked("27", "Training", "ensembles", answers.ensembling),
    Asked("28", "Evaluation", "figures", answered(_OVERALL)),
    Asked("29", "Evaluation", "uncertainty of the figures", answered(sections.PERFORMANCE)),
    Asked("30", "Evaluation", "robustness", answers.robustness),
    Asked(
        "31",
        "Evaluation",
        "explanations",
        partly(sections.MODEL, "whether heat maps point at the disease, as readers see it"),
    ),
    Asked("32", "Evaluation", "internal test", answers.internal_test),
    Asked("33", "Evaluation", "external test", answers.external_test),
    Asked("34", "Evaluation", "registration as a trial", user("the number, or that there is none")),
    Asked("35", "Results: data", "included and excluded, in numbers", answers.flow),
    Asked("36", "Results: data", "patients of each split", answers.demographics),
    Asked("37", "Results: performance", "figures with uncertainty", answered(_OVERALL)),
    Asked("38", "Results: performance", "diagnostic accuracy", answered(sections.PERFORMANCE)),
    Asked(
        "39",
        "Results: performance",
        "analysis of errors",
        partly(REPORT, "what the worst mistakes have in common, as a reader sees it"),
    ),
    Asked(
        "40",
        "Discussion",
        "limits",
        partly(sections.LIMITS, "the limits of your data, labels and patients"),
    ),
    Asked(
        "41",
        "Discussion",
        "meaning for practice",
        partly(sections.INTENDED_USE, "its place in your pathway, and who answers for it"),
    ),
    Asked(
        "42",
        "Other information",
        "protocol and technical details",
        partly(f"{sections.LINEAGE}; {REPORT}", "the protocol of the study"),
    ),
    Asked(
        "43",
        "Other information",
        "availability of software, model and data",
        user("where each can be had, and under which terms"),
    ),
    Asked("44", "Other information", "funding", user("who paid, and what they decided")),
)
