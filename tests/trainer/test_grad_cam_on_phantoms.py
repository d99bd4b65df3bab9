"""Whether the map that explains a prediction lies where the disease is, on synthetic slices."""

import numpy as np
import pytest
import scipy.ndimage
import tf_keras

from trainer.grad_cam import evidence, heatmap
from trainer.model import ModelSettings, build_network
from trainer.weights import BackboneWeights
from transform.phantom.patient import draw_patient
from transform.phantom.render import render_slice

pytestmark = pytest.mark.slow

SIDE = 64
# The side of what one feature of the tiny backbone stands for.
CELL = 8


def phantoms(patients):
    """Scaled slices [n, s, s, 1], labels [n, 1], masks of the opacities [n, s, s]."""
    images, labels, opacities = [], [], []
    for number in patients:
        patient = draw_patient(17, number, "severe")
        for index in (2, 4):
            rendered = render_slice(patient, index, 6, SIDE)
            images.append(np.clip((rendered.hu + 1000.0) / 1400.0, 0.0, 1.0) - 0.4)
            labels.append(rendered.opacities.any())
            opacities.append(rendered.opacities)
    shown = np.array(images, np.float32)[..., np.newaxis]
    return shown, np.array(labels, np.float32)[:, np.newaxis], np.array(opacities)


@pytest.fixture(scope="module")
def explained():
    """Maps of slices of other patients that a trained network calls positive, and the masks."""
    tf_keras.utils.set_random_seed(3)
    network = build_network(
        ModelSettings("tiny", "gap", 0.0, "trainable", 0.9, SIDE, 0.4),
        BackboneWeights(None, "none"),
    )
    network.model.compile(
        optimizer=tf_keras.optimizers.Adam(3e-3),
        loss=tf_keras.losses.BinaryCrossentropy(from_logits=True),
    )
    images, labels, _ = phantoms(range(120))
    network.model.fit(images, labels, batch_size=16, epochs=12, verbose=0)
    images, labels, opacities = phantoms(range(120, 200))
    logits = network.model(images, training=False).numpy()
    right = (logits > 0.0) == (labels > 0.5)
    assert right.mean() > 0.8
    backbone, head = network.parts()
    maps = heatmap(evidence(backbone(images, training=False), head), SIDE).numpy()
    found = ((logits > 0.0) & (labels > 0.5))[:, 0]
    assert found.sum() > 20
    return maps[found], opacities[found]


def test_the_map_lies_on_the_opacities(explained):
    """Its mass within a feature's width of an opacity, against an even map's."""
    maps, opacities = explained
    around = np.stack([scipy.ndimage.binary_dilation(one, iterations=CELL) for one in opacities])
    mass = (maps * around).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    chance = around.mean(axis=(1, 2))
    # 0.74 against 0.30 where this was written.
    assert mass.mean() > 1.8 * chance.mean()
    assert (mass > chance).mean() > 0.9
