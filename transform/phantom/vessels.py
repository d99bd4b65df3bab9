"""Pulmonary vessels and bronchi: a tree that fills each lung, and its section at a level."""

from __future__ import annotations

import dataclasses

import numpy as np

from transform.phantom.anatomy import Anatomy
from transform.phantom.canvas import Canvas

# A weight of the canvas: below NEUTRAL is airway lumen, above it is vessel or airway wall.
NEUTRAL = 40

_LEAVES = 1500
_LEAF_RADIUS = 0.46
# Murray's law gives 1/3; a little more keeps the hilar trunks as wide as they look on CT.
_GROWTH = 0.355
_SLAB = 4.0


@dataclasses.dataclass(frozen=True)
class VesselTree:
    """Straight pieces of vessel.

    Attributes:
      start: float64 [n, 3], mm (x, y and mm below the apex).
      end: float64 [n, 3], mm.
      radius: float64 [n], mm, ascending.
    """

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray


def grow_vessels(rng: np.random.Generator, body: Anatomy) -> VesselTree:
    """Grow one tree a lung: points all over the lung, each joined to the nearest nearer the hilum.

    The trees differ between patients, and drawing them consumes `rng` in a fixed order.
    """
    pieces = [_grow_side(rng, body, side) for side in (-1, 1)]
    start, end, radius = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    order = np.argsort(radius, kind="stable")
    return VesselTree(start[order], end[order], radius[order])


def _grow_side(
    rng: np.random.Generator, body: Anatomy, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = 3 * _LEAVES
    level = rng.uniform(0.0, 1.0, count)
    across, along = rng.uniform(0.0, 1.0, count), rng.uniform(-1.0, 1.0, count)
    half_width, half_depth = body.cage_half_axes(level)
    x, y = half_width * across, half_depth * along
    inside = (across**2 + along**2 < 0.93**2) & (x > 24.0)
    points = np.stack(
        [side * x, y + body.cage_half_depth - half_depth, level * body.lung_height], axis=1
    )[inside][:_LEAVES]
    root = np.array([side * 27.0, body.cage_centre(0.5) + 2.0, 0.48 * body.lung_height])
    away = np.linalg.norm(points - root, axis=1)
    nodes = np.concatenate([root[None], points[np.argsort(away, kind="stable")]])

    square = np.einsum("ij,ij->i", nodes, nodes)
    parent = np.zeros(len(nodes), dtype=int)
    known = 1
    while known < len(nodes):
        # Joining in growing batches lets no point hang on one of its own batch, which gives the
        # generations of a tree, and keeps the search in numpy.
        batch = slice(known, min(known + max(known // 2, 1), len(nodes)))
        # |a - b|^2 less |a|^2, which is the same for every candidate b.
        gap = square[:known] - 2.0 * nodes[batch] @ nodes[:known].T
        parent[batch] = gap.argmin(axis=1)
        known = batch.stop
    carried = [1] * len(nodes)
    for node, above in reversed(list(enumerate(parent.tolist()))[1:]):
        carried[above] += carried[node]
    radius = np.minimum(_LEAF_RADIUS * body.vessel_scale * np.array(carried) ** _GROWTH, 7.0)
    return nodes[parent[1:]], nodes[1:], radius[1:]


def paint_vessels(canvas: Canvas, tree: VesselTree, depth: float) -> None:
    """Paint the pieces of vessel that a slice cuts, and the bronchi beside the wide ones.

    Args:
      canvas: mode `L`, ground `NEUTRAL`.
      tree: whose vessels.
      depth: mm below the apex.
    """
    low = np.minimum(tree.start[:, 2], tree.end[:, 2]) - tree.radius
    high = np.maximum(tree.start[:, 2], tree.end[:, 2]) + tree.radius
    cut = (low < depth + 0.5 * _SLAB) & (high > depth - 0.5 * _SLAB)
    start, end, radius = tree.start[cut], tree.end[cut], tree.radius[cut]
    rise = end[:, 2] - start[:, 2]
    rise = np.where(np.abs(rise) < 1e-6, 1e-6, rise)
    bounds = np.sort((depth + np.array([[-0.5], [0.5]]) * _SLAB - start[:, 2]) / rise, axis=0).clip(
        0.0, 1.0
    )
    span = (end - start)[:, :2]
    begin = start[:, :2] + bounds[0][:, None] * span
    stop = start[:, :2] + bounds[1][:, None] * span

    filled = np.minimum(radius / 0.75, 1.0) * 215.0
    canvas.strokes(begin, stop, radius, (NEUTRAL + filled).astype(int))

    wide = radius > 1.7
    beside = np.stack([np.sign(begin[wide, 0]), np.ones(wide.sum())], axis=1)
    beside *= 1.15 * radius[wide, None]
    bore = 0.62 * radius[wide]
    walls = np.full(len(bore), NEUTRAL + 150)
    canvas.strokes(begin[wide] + beside, stop[wide] + beside, bore + 0.8, walls)
    canvas.strokes(begin[wide] + beside, stop[wide] + beside, bore, np.zeros(len(bore), dtype=int))
