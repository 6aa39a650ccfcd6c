"""Text among stored values: what a faulty system copied into Pixel Data, or hid there. Not what an image shows."""

from functools import lru_cache
from itertools import product

import numpy as np

# Seven letters in either case come about by chance once in 10^15 places.
SHORTEST = 7


def spells(pixels: bytes | memoryview, words: frozenset[bytes]) -> bool:
    """Whether `pixels` hold one of `words` (lower case, those of seven bytes and more), ASCII in any case.

    Pairs of bytes are looked up in one table, however many words there are; bytes are compared only where three pairs
    in a row fit."""
    tables, lowest, highest, longest = _tables(words)
    if not longest:
        return False
    pairs = np.frombuffer(pixels, "<u2", len(pixels) // 2)
    # High bytes of most images are no letters: to see that costs a tenth of a look into the table.
    places = np.flatnonzero(pairs - lowest <= highest - lowest)
    if len(places) > len(pairs) // 8:
        places = np.flatnonzero(tables[0].take(pairs))
    else:
        places = places[tables[0].take(pairs[places])]
    for further, table in enumerate(tables[1:], start=1):
        places = places[places + further < len(pairs)]
        places = places[table.take(pairs[places + further])]
    for at in (2 * places).tolist():
        around = bytes(pixels[max(0, at - 1) : at + longest]).lower()
        if any(w in around for w in words if len(w) >= SHORTEST):
            return True
    return False


@lru_cache(maxsize=64)
def _tables(words: frozenset[bytes]) -> tuple[list[np.ndarray], np.uint16, np.uint16, int]:
    """For the first, second and third pair: which ones a word has there, whether it starts at an even place or an odd
    one. The lowest and the highest first pair, and the length of the longest word that is looked for."""
    tables = [np.zeros(1 << 16, bool) for _ in range(3)]
    long = [w for w in words if len(w) >= SHORTEST]
    for word, (number, table), odd in product(long, enumerate(tables), (0, 1)):
        pair = word[2 * number + odd :][:2]
        for first, second in product(*({c, *bytes([c]).upper()} for c in pair)):
            table[first | second << 8] = True
    first_pairs = np.flatnonzero(tables[0]).astype("<u2")
    lowest, highest = (first_pairs[0], first_pairs[-1]) if long else (np.uint16(0), np.uint16(0))
    return tables, lowest, highest, max(map(len, long), default=0)
