"""What kind of model it is and how it was trained, from the configuration and the record."""

from __future__ import annotations

from typing import Any

from components.run_facts.facts import RunFacts
from components.run_facts.wording import count, number
from transform import prediction

_BACKBONES = {
    "efficientnet-b3": "EfficientNetB3 (Tan and Le 2019)",
    "tiny": "a three-layer convolutional network",
}
_HEADS = {
    "gap": "global average pooling and one logit",
    "paper": "4 x 4 average pooling, a dense layer and one logit",
}


def _describe_network(config: dict[str, Any]) -> list[str]:
    model = config.get("model", {})
    if "backbone" not in model:
        return []
    backbone = _BACKBONES.get(model["backbone"], model["backbone"])
    head = _HEADS.get(model.get("head"), "one logit")
    sentences = [f"A convolutional neural network (deep learning): {backbone}, with {head}."]
    if "flip_average" in model:
        sentences.append(
            "Its answer is the mean over a slice and its mirror image."
            if model["flip_average"]
            else "One network answers once: there is no ensemble and no averaging over changes."
        )
    return sentences


def _describe_input(config: dict[str, Any]) -> list[str]:
    transform = config.get("transform", {})
    if not {"hu_min", "hu_max", "image_size"} <= transform.keys():
        return []
    low, high = (number(transform[name], 0) for name in ("hu_min", "hu_max"))
    side = transform["image_size"]
    return [
        f"Its input is the slice's pixels and nothing else: Hounsfield units from {low} to {high} "
        "(beyond is clipped), scaled, zero-centred and resized to "
        f"{side} x {side} pixels. This is in the exported graph, so that nobody has to repeat it."
    ]


def _describe_balance(train: dict[str, Any]) -> str:
    if train.get("examples_per_class"):
        drawn = count(train["examples_per_class"], "slice")
        return f"Each epoch draws {drawn} of each class."
    if train.get("class_weights"):
        return "Classes are weighed by their inverse frequency."
    return "Nothing was done about classes of different size."


def _describe_training(facts: RunFacts) -> list[str]:
    record, train = facts.training, facts.settings.config.get("train", {})
    if not record.epochs:
        return []
    about = [f"Training took {count(len(record.epochs), 'epoch')}"]
    if record.global_batch_size is not None:
        about.append(f"batches of {count(record.global_batch_size, 'slice')}")
    if record.learning_rate is not None:
        about.append(f"a learning rate of {record.learning_rate:g} at most")
    sentences = [f"{', '.join(about)}."]
    if "early_stopping" in train:
        sentences.append(
            "The epoch of the best AUC on the validation split is exported."
            if train["early_stopping"]
            else "The last epoch is exported."
        )
    if "class_weights" in train:
        sentences.append(_describe_balance(train))
    return sentences


def describe_model(facts: RunFacts) -> list[str]:
    """What the model is, a sentence each; what the configuration does not say is left out."""
    config = facts.settings.config
    return [
        *_describe_network(config),
        *_describe_input(config),
        *_describe_training(facts),
        f"The signatures {prediction.EXPLAIN} and {prediction.EXPLAIN_IMAGE} show where in a slice "
        "the evidence lies (Grad-CAM, Selvaraju et al. 2017). Nobody has shown that they show it "
        "rightly.",
    ]
