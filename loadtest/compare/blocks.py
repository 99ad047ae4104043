"""How long a block of consecutive requests must be, and which requests a resample takes.

Pure. Requests of one run are not independent: a queue that is long for one caller is long for the
next. Drawing whole blocks keeps what neighbours share (Künsch, 1989); the blocks wrap around the
end, so that every request is drawn equally often (Politis and Romano, 1992).
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# A resample of fewer blocks than this says little about how resamples differ.
_FEWEST_BLOCKS = 10


def block_length(values: Floats) -> int:
    """Return the length that suits the autocorrelation of a series, at least 1.

    The automatic choice of Politis and White (2004) for the circular block bootstrap, as corrected
    by Patton, Politis and White (2009): the flat-top lag window reaches twice as far as the
    autocorrelation is seen to. Never so long that fewer than ten blocks are left.
    """
    count = len(values)
    centred = values - values.mean() if count else values
    if count < 2 * _FEWEST_BLOCKS or not centred.any():
        return 1
    furthest = min(count - 1, math.ceil(math.sqrt(count)) + _patience(count))
    covariances = _covariances(centred, furthest)
    reach = min(2 * _last_correlated(covariances / covariances[0], count), furthest)
    lags = np.arange(-reach, reach + 1)
    weights = np.clip(2 * (1 - np.abs(lags) / max(reach, 1)), 0, 1)
    terms = weights * covariances[np.abs(lags)]
    spread = float((np.abs(lags) * terms).sum())
    long_run = float(terms.sum())
    longest = count // _FEWEST_BLOCKS
    if long_run <= 0:
        # Neighbours make up for each other, as the gaps of a paced server do: long blocks see it.
        return longest
    # b = (2 G^2 / D)^(1/3) N^(1/3) with D = 4/3 g(0)^2.
    length = math.cbrt(1.5 * (spread / long_run) ** 2 * count)
    return max(1, min(math.ceil(length), longest))


def draw_places(draw: np.random.Generator, resamples: int, count: int, length: int) -> Places:
    """Return which of `count` requests each resample takes, shape (resamples, count)."""
    blocks = -(-count // length)
    starts = draw.integers(count, size=(resamples, blocks))
    places = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :count]
    # Faster than the remainder: no block is longer than the series.
    places -= count * (places >= count)
    return places


def _patience(count: int) -> int:
    # So many lags in a row without correlation end the search.
    return max(5, math.ceil(math.sqrt(math.log10(count))))


def _covariances(centred: Floats, furthest: int) -> Floats:
    # By FFT, padded so that the ends do not meet.
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    products = np.fft.irfft(spectrum * spectrum.conj(), size)[: furthest + 1]
    covariances: Floats = products / len(centred)
    return covariances


def _last_correlated(correlations: Floats, count: int) -> int:
    """Return the lag after which several in a row are within chance; at least 1."""
    bound = 2 * math.sqrt(math.log10(count) / count)
    patience = _patience(count)
    is_chance = np.abs(correlations[1:]) < bound
    quiet = np.convolve(is_chance, np.ones(patience), "valid")
    found = np.flatnonzero(quiet == patience)
    if found.size:
        return max(1, int(found[0]))
    return max(1, int(np.flatnonzero(~is_chance)[-1]) + 1)
