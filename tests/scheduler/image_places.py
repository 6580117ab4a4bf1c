"""Places for the bytes of images, each with a look into it that does not go through what is tested."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from bucket_server import ACCESS_KEY, BucketServer, serving_bucket

from runtime.randomness import SystemRandomness
from scheduler.object_images.objects import ObjectImages

SECRET = "sesame-secret"


class Look(Protocol):
    """What is in a place.

    Attributes:
        home: Its URL.
    """

    home: str

    def objects(self) -> dict[str, bytes]: ...

    def drop(self) -> None:
        """Take out all objects, as somebody else may do."""
        ...


class BucketLook:
    home = "s3://images/some/prefix"

    def __init__(self, bucket: BucketServer) -> None:
        self.bucket = bucket

    def objects(self) -> dict[str, bytes]:
        return {f"s3://images/{key}": data for key, data in self.bucket.objects.items()}

    def drop(self) -> None:
        self.bucket.objects.clear()


class DirectoryLook:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = f"file://{root}"

    def objects(self) -> dict[str, bytes]:
        return {f"file://{path}": path.read_bytes() for path in self.root.glob("*/*")}

    def drop(self) -> None:
        for path in self.root.glob("*/*"):
            path.unlink()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    with serving_bucket() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield server


@pytest.fixture(params=["bucket", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Look:
    if request.param == "directory":
        return DirectoryLook(tmp_path / "kept" / "images")
    return BucketLook(request.getfixturevalue("bucket"))


def objects_in(home: str) -> ObjectImages:
    return ObjectImages(home, randomness=SystemRandomness())
