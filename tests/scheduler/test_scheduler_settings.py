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
    ],
)
def test_a_time_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong"):
        loaded(monkeypatch, **{name: value})


def test_an_executor_is_not_lost_before_its_second_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, SCHEDULER_EXECUTOR_LOST_SECONDS="6").executor_lost_seconds == 6

    with pytest.raises(SettingsError, match=r"SCHEDULER_EXECUTOR_LOST_SECONDS is wrong.*twice"):
        loaded(monkeypatch, SCHEDULER_EXECUTOR_LOST_SECONDS="5.9")


def test_no_job_rises_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).aging is None
