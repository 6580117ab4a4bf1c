"""Whether a text ends in a loop: models now and then repeat one piece until their output tokens are used up.

Seen as a digit without end inside a number, blanks after the last value, or the same items again and again
(https://github.com/google-gemini/cookbook/issues/1288).
"""

WINDOW = 8_192
"""Characters at the end that are looked at."""

LEAST_CHARACTERS = 1_024
LEAST_TIMES = 8
"""An end of so many characters that is one piece so many times is a loop. Shorter rows of equal items are ordinary."""


def ends_in_loop(text: str) -> bool:
    """Say whether the end is one piece again and again; the last time may be cut off.

    Takes time linear in the window: the prefix function of the reversed end tells the shortest period of each of its
    beginnings (Knuth, Morris, Pratt: Fast Pattern Matching in Strings, 1977).
    """
    end = text[-WINDOW:][::-1]
    borders = [0] * len(end)
    border = 0
    for position in range(1, len(end)):
        while border and end[position] != end[border]:
            border = borders[border - 1]
        if end[position] == end[border]:
            border += 1
        borders[position] = border
        length = position + 1
        if length >= LEAST_CHARACTERS and length >= LEAST_TIMES * (length - border):
            return True
    return False
