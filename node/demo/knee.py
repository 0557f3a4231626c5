"""A drawn knee: something that is no chest, for the node to decline."""

from __future__ import annotations

import numpy as np

from node.demo.anatomy import Field, Grid, bump, cloud, rise


def draw_knee(seed: int, size: int) -> Field:
    """Femur, tibia, fibula and patella from the front; float32 (size, size) in 0..1, dense bright."""
    rng = np.random.default_rng((seed, 20))
    grid = Grid.posed(rng, size)
    x, y = grid.x, grid.y
    leg = rise(np.float32(0.52) - np.abs(x) - np.float32(0.04) * np.cos(np.float32(3) * y), 30)
    flare = np.float32(0.13) * bump(y, 0.30)
    shaft = rise(np.float32(0.20) + flare - np.abs(x), 45)
    femur = shaft * rise(np.float32(-0.03) - np.float32(0.05) * bump(x, 0.09) - y, 45)
    tibia = shaft * rise(y - np.float32(0.03), 45)
    fibula = rise(np.float32(0.06) - np.abs(x + np.float32(0.34)), 50) * rise(y - np.float32(0.17), 40)
    patella = rise(np.float32(0.15) - np.hypot(x, y + np.float32(0.22)), 40)
    marrow = bump(x, 0.12) * (femur + tibia)
    image = np.float32(0.28) * leg + np.float32(0.34) * (femur + tibia + fibula) - np.float32(0.08) * marrow
    image += np.float32(0.10) * patella + np.float32(0.02) * leg * cloud(rng, size, 24)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    drawn: Field = np.clip(image + np.float32(0.01) * noise + np.float32(0.02), 0, 1).astype(np.float32)
    return drawn
