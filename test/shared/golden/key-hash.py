"""Makes key-hash.json: murmur3_x86_32 with seed 0, written down from the description of the algorithm and apart from
shared/key-hash.ts. Its answers were compared with those of the reference in C (PyPI: mmh3 5.3.0).

    python3 test/shared/golden/key-hash.py > test/shared/golden/key-hash.json
"""

import json
import random

MASK = 0xFFFFFFFF


def rotate_left(word, bits):
    return ((word << bits) | (word >> (32 - bits))) & MASK


def scramble(word):
    return rotate_left(word * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK


def murmur3_x86_32(key):
    state = 0
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        state ^= scramble(int.from_bytes(key[at : at + 4], "little"))
        state = (rotate_left(state, 13) * 5 + 0xE6546B64) & MASK
    state ^= scramble(int.from_bytes(key[whole:], "little"))
    state ^= len(key)
    state = (state ^ state >> 16) * 0x85EBCA6B & MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & MASK
    return state ^ state >> 16


def keys():
    numbers = random.Random(20)
    for size in range(0, 68):
        yield numbers.randbytes(size)
        yield b"\xff" * size
        yield b"\x80" * size
    for size in (255, 256, 257, 1023, 2047, 2048):
        yield numbers.randbytes(size)
    for index in range(100):
        yield b"slice-%04d" % index
    for _ in range(40):
        digits = numbers.randbytes(16).hex()
        yield "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])).encode()
    for text in ("é", "日本語", "😀", "naïve", "\ufeffkey", "a\u0308"):
        yield text.encode()


if __name__ == "__main__":
    rows = ['"%s": %d' % (key.hex(), murmur3_x86_32(key)) for key in dict.fromkeys(keys())]
    print("{\n  " + ",\n  ".join(rows) + "\n}")
