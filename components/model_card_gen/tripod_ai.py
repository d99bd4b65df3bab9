"""TRIPOD+AI (2024), for studies that develop or evaluate a prediction model.

Collins et al., BMJ 2024;385:e078378. Numbers and order are theirs, words are ours.
"""

from __future__ import annotations

from components.model_card_gen import answers, sections
from components.model_card_gen.answers import answered, partly, user
from components.model_card_gen.checklist_item import Asked

NAME = "TRIPOD+AI 2024"

_OVERALL = f"{sections.PERFORMANCE}; {sections.CALIBRATION}"

ITEMS = (
    Asked("1", "Title", "kind of study", user("development or test, for whom, of what")),
    Asked("2", "Abstract", "summary", user("as TRIPOD+AI for Abstracts has it")),
    Asked("3a", "Introduction", "context in care", user("why a model, and which exist already")),
    Asked(
        "3b",
        "Introduction",
        "for whom and for what",
        partly(sections.INTENDED_USE, "the patients, the place in the pathway and the users"),
    ),
    Asked("3c", "Introduction", "inequalities", user("known ones between groups of patients")),
    Asked("4", "Introduction", "aims", user("development, test, or both")),
    Asked("5a", "Methods", "sources of data", answers.data_sources),
    Asked("5b", "Methods", "dates", user("when the first and the last patient were scanned")),
    Asked("6a", "Methods", "setting", user("number, kind and place of the hospitals")),
    Asked(
        "6b",
        "Methods",
        "eligibility",
        partly(sections.DATA, "who was eligible; here is only what could not be read or used"),
    ),
    Asked("6c", "Methods", "treatments", user("those received before the scan")),
    Asked("7", "Methods", "preparation of the data", answers.preprocessing),
    Asked("8a", "Methods", "outcome", user("how COVID-19 was confirmed and excluded, and when")),
    Asked("8b", "Methods", "who judged the outcome", user("their training, where it took judging")),
    Asked("8c", "Methods", "blinding", user("what those who judged it knew")),
    Asked("9a", "Methods", "choice of predictors", answers.preprocessing),
    Asked("9b", "Methods", "definition of predictors", answers.preprocessing),
    Asked(
        "9c",
        "Methods",
        "judgement in measuring predictors",
        user("who chose the slices, where not whole scans were taken"),
    ),
    Asked(
        "10",
        "Methods",
        "size of the sample",
        partly(sections.PERFORMANCE, "how the number of patients was chosen"),
    ),
    Asked("11", "Methods", "missing data", answered(sections.DATA)),
    Asked("12a", "Methods", "use of the data", answers.assignment),
    Asked("12b", "Methods", "handling of predictors", answers.preprocessing),
    Asked("12c", "Methods", "kind of model and how it was built", answers.training_approach),
    Asked("12d", "Methods", "differences between clusters", answers.clusters),
    Asked("12e", "Methods", "measures of performance", answered(_OVERALL)),
    Asked("12f", "Methods", "updating", answers.updating),
    Asked("12g", "Methods", "how predictions were computed", answered(sections.PERFORMANCE)),
    Asked("13", "Methods", "imbalance of classes", answers.class_imbalance),
    Asked("14", "Methods", "fairness", answers.fairness),
    Asked("15", "Methods", "output and threshold", answered(sections.CALIBRATION)),
    Asked(
        "16",
        "Methods",
        "differences between training and test",
        partly(sections.DATA, "differences in setting, eligibility and labels, if any"),
    ),
    Asked("17", "Methods", "ethics", user("the board, its decision, and consent")),
    Asked("18a", "Open science", "funding", user("who paid, and what they decided")),
    Asked("18b", "Open science", "conflicts of interest", user("those of all authors")),
    Asked("18c", "Open science", "protocol", user("where it is, or that there is none")),
    Asked("18d", "Open science", "registration", user("the number, or that there is none")),
    Asked("18e", "Open science", "availability of the data", user("where, and on which terms")),
    Asked("18f", "Open science", "availability of the code", user("where, and which version")),
    Asked("19", "Patient involvement", "patients and public", user("how they took part, or not")),
    Asked("20a", "Results", "flow of participants", answers.flow),
    Asked("20b", "Results", "who they are", answers.demographics),
    Asked("20c", "Results", "test against training data", answers.demographics),
    Asked("21", "Results", "participants and events", answers.participants),
    Asked(
        "22",
        "Results",
        "the model itself",
        partly(sections.MODEL, "where others can get the exported model"),
    ),
    Asked("23a", "Results", "performance with intervals", answers.performance),
    Asked("23b", "Results", "performance between clusters", answers.clusters),
    Asked("24", "Results", "results of updating", answers.updating),
    Asked(
        "25",
        "Discussion",
        "interpretation",
        user("what the figures mean, for all groups, beside other studies"),
    ),
    Asked(
        "26",
        "Discussion",
        "limits",
        partly(sections.LIMITS, "the limits of your data, labels and patients"),
    ),
    Asked(
        "27a",
        "Discussion",
        "bad or missing input",
        partly(sections.LIMITS, "who looks after bad slices where it is used"),
    ),
    Asked(
        "27b",
        "Discussion",
        "what users must do and know",
        partly(f"{sections.INTENDED_USE}; {sections.NOT_FOR}", "the training that users get"),
    ),
    Asked("27c", "Discussion", "next steps", user("what is to be shown before it is used")),
)
