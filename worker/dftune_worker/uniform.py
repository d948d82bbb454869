"""Philox4x32-10: random bits as a function of a counter and a key, as src/generate/philox.ts has them.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

WORD = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k0, second & WORD, (first >> 32) ^ d ^ k1, first & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return a, b, c, d


def uniform(seed: int, index: int, stream: tuple[int, int, int] = (0, 0, 0)) -> float:
    """In [0, 1), 53 bits: what token `index` of the sample of this seed is drawn with. `stream` tells apart the samples that
    share a seed."""
    a, b, _, _ = philox((index & WORD, *(n & WORD for n in stream)), (seed & WORD, (seed >> 32) & WORD))
    return ((a >> 5) * 2**26 + (b >> 6)) / 2**53
