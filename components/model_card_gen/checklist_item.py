"""An item of a reporting checklist, and what a run answers to it."""

from __future__ import annotations

import dataclasses

from components.model_card_gen.answers import Rule, Status


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a checklist asks.

    Attributes:
      number: of the item, as published.
      section: under which it stands there.
      topic: what it is about, in our words.
      rule: what a run answers.
    """

    number: str
    section: str
    topic: str
    rule: Rule


@dataclasses.dataclass(frozen=True)
class ChecklistItem:
    """What a checklist asks, and what one run answers.

    Attributes:
      standard: the checklist's name.
      number: of the item, as published.
      section: under which it stands there.
      topic: what it is about, in our words.
      status: whether the card answers it.
      where: in which sections of the card, or in the report; empty where only the user can answer.
      write: what the user has to add; empty where it is answered.
    """

    standard: str
    number: str
    section: str
    topic: str
    status: Status
    where: str
    write: str
