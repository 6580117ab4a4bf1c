import datetime

import pytest
from test_scheduler_settings import loaded

from runtime.settings import SettingsError


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("", ""),
        ("s3://images", "s3://images"),
        ("s3://images/some/prefix/", "s3://images/some/prefix"),
        ("file:///var/lib/visionjobs/images/", "file:///var/lib/visionjobs/images"),
        ("file:///var/lib/with%20space", "file:///var/lib/with%20space"),
    ],
)
def test_images_are_kept_in_the_database_a_bucket_or_a_directory(
    monkeypatch: pytest.MonkeyPatch, value: str, kept: str
) -> None:
    assert loaded(monkeypatch, SCHEDULER_IMAGE_STORE=value).image_store == kept


@pytest.mark.parametrize(
    "value",
    [
        "images",
        "/var/lib/images",
        "file://host/images",
        "file:///",
        "file:///a/../b",
        "file:///a?b",
        "s3://",
        "s3://key:sesame@images",
        "s3://Images",
        "s3://images/../other",
        "s3://images/a?b=c",
        "gs://images",
        "https://images.example",
    ],
)
def test_another_place_is_refused_with_the_setting(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(SettingsError, match="SCHEDULER_IMAGE_STORE is wrong") as refusal:
        loaded(monkeypatch, SCHEDULER_IMAGE_STORE=value)
    assert "sesame" not in str(refusal.value)


def test_images_live_for_a_day_or_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).image_lifetime == datetime.timedelta(days=1)
    longer = loaded(monkeypatch, SCHEDULER_IMAGE_LIFETIME_SECONDS="604800")
    assert longer.image_lifetime == datetime.timedelta(days=7)

    with pytest.raises(SettingsError, match="SCHEDULER_IMAGE_LIFETIME_SECONDS is wrong"):
        loaded(monkeypatch, SCHEDULER_IMAGE_LIFETIME_SECONDS="86399")
