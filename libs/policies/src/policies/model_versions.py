"""Whether the model that answered is the one that was asked for."""

from collections.abc import Collection


def is_rerouted(asked: str, version: str, known: Collection[str]) -> bool:
    """Say whether another model answered; nobody knows of an answer without a version.

    A provider adds suffixes to the name of a model, so the longest known name that begins the version counts.
    """
    if not version:
        return False
    names = [name for name in {*known, asked} if version.startswith(name)]
    return max(names, key=len, default="") != asked
