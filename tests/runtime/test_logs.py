"""What reaches the log, and what never does."""

import contextlib
import logging
from collections.abc import Iterator

import pytest

from runtime import logs

KEY_ID = "0123456789ab"
SECRET = "5" * 64
KEY = f"vj_{KEY_ID}_{SECRET}"
PROVIDER_KEY = "AIza" + "x" * 35


@contextlib.contextmanager
def configured() -> Iterator[logging.Logger]:
    """Yield a library's logger while ours is configured on the present stderr."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(level="INFO")
    try:
        yield logging.getLogger("library")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)


def test_a_key_is_taken_out_of_a_librarys_message(capsys: pytest.CaptureFixture[str]) -> None:
    with configured() as logger:
        logger.warning("sent %s and %s", f"Bearer {KEY}", PROVIDER_KEY)

    written = capsys.readouterr().err
    assert SECRET not in written
    assert PROVIDER_KEY not in written
    assert f"vj_{KEY_ID}_[redacted]" in written


def test_a_key_is_taken_out_of_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with configured() as logger:
        try:
            raise ValueError(f"the metadata was {KEY}")
        except ValueError:
            logger.exception("failed")

    written = capsys.readouterr().err
    assert "the metadata was" in written
    assert SECRET not in written


def test_what_is_no_key_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with configured() as logger:
        logger.warning("job vj_%s of executor %s", KEY_ID, SECRET)

    assert f"job vj_{KEY_ID} of executor {SECRET}" in capsys.readouterr().err
