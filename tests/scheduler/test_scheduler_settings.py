import datetime
from pathlib import Path

import pytest

from runtime.settings import SettingsError, load
from scheduler.settings import SchedulerSettings


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> SchedulerSettings:
    variables = {"SCHEDULER_DATABASE_URL": "postgresql://db/jobs", **variables}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(SchedulerSettings, variables)


@pytest.mark.parametrize("value", ["inf", "nan", "1e15", "-1", "soon"])
@pytest.mark.parametrize(
    "name",
    [
        "SCHEDULER_RESULT_CACHE_SECONDS",
        "SCHEDULER_BREAKER_OPEN_SECONDS",
        "SCHEDULER_AGING_SECONDS",
        "SCHEDULER_HEARTBEAT_SECONDS",
        "SCHEDULER_EXECUTOR_LOST_SECONDS",
        "SCHEDULER_STOP_SECONDS",
        "SCHEDULER_FLEX_TIMEOUT_SECONDS",
    ],
)
def test_a_time_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong"):
        loaded(monkeypatch, **{name: value})


def test_an_executor_is_not_lost_before_its_second_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, SCHEDULER_EXECUTOR_LOST_SECONDS="6").executor_lost_seconds == 6

    with pytest.raises(SettingsError, match=r"SCHEDULER_EXECUTOR_LOST_SECONDS is wrong.*twice"):
        loaded(monkeypatch, SCHEDULER_EXECUTOR_LOST_SECONDS="5.9")


def test_second_steps_may_name_the_models_that_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).deepseek_models == ("deepseek-v4-flash", "deepseek-v4-pro")
    settings = loaded(monkeypatch, SCHEDULER_DEEPSEEK_MODELS="deepseek-v4-pro, deepseek-v5")

    assert settings.deepseek_models == ("deepseek-v4-pro", "deepseek-v5")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCHEDULER_DEEPSEEK_MODELS", ","),
        ("SCHEDULER_DEEPSEEK_MODELS", "deepseek/v4"),
        ("SCHEDULER_LOW_PRIORITY_TIER", "flex"),
        ("SCHEDULER_LOW_PRIORITY_TIER", "CHEAP"),
        ("SCHEDULER_FLEX_TIMEOUT_SECONDS", "3601"),
        ("SCHEDULER_MAX_PAID_CALLS", "-1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong"):
        loaded(monkeypatch, **{name: value})


def test_low_priority_is_done_in_the_cheap_tier_which_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch)

    assert (settings.low_priority_tier, settings.flex_timeout) == ("FLEX", datetime.timedelta(minutes=20))
    assert settings.max_paid_calls == 0


def test_no_job_rises_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).aging is None


@pytest.mark.parametrize(
    "url",
    ["jobs.example", "ftp://jobs.example", "https://", "https://me:pw@host", "https://host?x=1", "https://host#x"],
)
def test_a_public_url_that_links_cannot_begin_with_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(SettingsError, match="SCHEDULER_PUBLIC_URL is wrong"):
        loaded(monkeypatch, SCHEDULER_PUBLIC_URL=url)


def test_a_public_url_may_have_a_port_and_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).public_url == ""
    settings = loaded(monkeypatch, SCHEDULER_PUBLIC_URL="https://jobs.example:8443/vision/")

    assert settings.public_url == "https://jobs.example:8443/vision"


def test_clients_are_not_limited_but_in_what_they_hold_open(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch)

    assert (settings.client_submissions_per_second, settings.client_max_queued_jobs) == (0, 0)
    assert settings.open_call_limits == {"watches": 100, "uploads": 16, "calls": 1_000}


def test_a_rate_that_lets_nothing_through_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "SCHEDULER_CLIENT_SUBMISSIONS_PER_SECOND"
    assert loaded(monkeypatch, **{name: "0.001"}).client_submissions_per_second == 0.001

    for value in ("0.0009", "-1", "inf", "nan"):
        with pytest.raises(SettingsError, match=f"{name} is wrong"):
            loaded(monkeypatch, **{name: value})


def test_a_password_file_must_be_there_at_start_but_not_for_a_health_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    with pytest.raises(SettingsError, match=r"SCHEDULER_DATABASE_PASSWORD_FILE is wrong: .* cannot be read"):
        loaded(monkeypatch, SCHEDULER_DATABASE_PASSWORD_FILE=str(file))
    assert load(SchedulerSettings, files=False).database_password_file == file

    file.write_text("secret\n")
    password = loaded(monkeypatch, SCHEDULER_DATABASE_PASSWORD_FILE=str(file)).database_password
    assert password is not None
    assert password() == "secret"
