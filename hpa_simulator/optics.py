"""Optics: from the light of four stains to the 8-bit images of a confocal microscope."""

import cv2
import numpy as np

NATIVE_UM = 0.08  # of the competition; a coarser pixel averages several of these, and their noise
GAINS = ((100, 270), (80, 220), (130, 270), (95, 270))  # grey levels of full light: red, green, blue, yellow
# Shares of fields that are far too dim, saturated, out of focus, or strewn with clumps of antibody.
DIM_FIELDS, SATURATED_FIELDS, BLURRED_FIELDS, CLUMPED_FIELDS = 0.03, 0.03, 0.06, 0.06


def expose(rng: np.random.Generator, light: np.ndarray, margin: int, um: float, gain: float = 1.0) -> np.ndarray:
    """Photograph a field.

    Parameters
    ----------
    light : numpy.ndarray
        float32 (4, h, w), red, green, blue, yellow; about 1 where a stain is bright.
    margin : int
        Pixels on each side that shine into the image but are not on it.
    um : float
        Size of a pixel.
    gain : float
        Factor on the light, as of another microscope.

    Returns
    -------
    numpy.ndarray
        uint8 (h − 2·margin, w − 2·margin, 4).
    """
    gains = np.array([rng.uniform(*limits) for limits in GAINS]) * gain * _draw_exposure(rng)
    blur = rng.uniform(0.05, 0.15) + 0.2 * (rng.random() < BLURRED_FIELDS)
    planes = []
    for plane, gain in zip(light, gains):
        focused = cv2.GaussianBlur(plane * np.float32(gain), (0, 0), max(blur / um, 0.3))
        hazy = focused + np.float32(rng.uniform(0.02, 0.12)) * _blur_widely(focused, rng.uniform(3, 6) / um)
        planes.append(_count_photons(rng, hazy[margin:-margin, margin:-margin], um))
    return cv2.merge(planes)


def add_clumps(rng: np.random.Generator, green: np.ndarray, um: float) -> None:
    """Put a few bright clumps of antibody on some fields, wherever they fell."""
    if rng.random() >= CLUMPED_FIELDS:
        return
    for _ in range(rng.integers(1, 5)):
        column, row = (int(way) for way in rng.uniform(0, green.shape[0], 2))
        radius = max(1, round(rng.uniform(0.5, 1.8) / um))
        cv2.circle(green, (column, row), radius, float(rng.uniform(0.8, 1.6)), -1)


def _draw_exposure(rng):
    """Factor on all gains: near 1, in a few fields far too low or far too high."""
    chance = rng.random()
    if chance < DIM_FIELDS:
        return rng.uniform(0.08, 0.25)
    if chance < DIM_FIELDS + SATURATED_FIELDS:
        return rng.uniform(2, 3.5)
    return 1.0


def _blur_widely(plane, sigma):
    """A wide Gaussian blur, made on a smaller image: light from above and below the focal plane."""
    factor = max(1, int(sigma / 2))
    size = (max(2, plane.shape[1] // factor), max(2, plane.shape[0] // factor))
    small = cv2.GaussianBlur(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / factor)
    return cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _count_photons(rng, plane, um):
    """Poisson noise of the photons, Gaussian noise of reading; black is set so that empty ground is mostly 0."""
    averaged = (um / NATIVE_UM) ** 2
    photons_per_level = rng.uniform(0.7, 2.5) * averaged
    counted = rng.poisson(plane * np.float32(photons_per_level)) / photons_per_level
    read = rng.standard_normal(plane.shape, np.float32) * np.float32(1.2 / averaged**0.5)
    return np.clip(counted + read - rng.uniform(0.5, 2), 0, 255).astype(np.uint8)
