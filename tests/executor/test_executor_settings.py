from pathlib import Path

import pytest

from executor.settings import DEFAULT_BASE_URL, ExecutorSettings
from runtime.settings import SettingsError, load

NAMES = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "EXECUTOR_CAPACITY", "EXECUTOR_SPOOL_DIR")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ExecutorSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(ExecutorSettings)


def key_of(settings: ExecutorSettings) -> str | None:
    return settings.gemini_api_key.get_secret_value() if settings.gemini_api_key else None


def test_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch)

    assert (settings.capacity, settings.lanes, settings.drain_seconds) == (3, ("gemini/*",), 300)
    assert (settings.scheduler_address, settings.health_address) == (("127.0.0.1:50051",), "127.0.0.1:50052")
    assert (settings.base_url, settings.gemini_api_version) == (DEFAULT_BASE_URL, "v1beta")
    assert key_of(settings) is None


def test_google_api_key_wins_as_in_the_providers_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of(loaded(monkeypatch, GEMINI_API_KEY="one")) == "one"
    assert key_of(loaded(monkeypatch, GEMINI_API_KEY="one", GOOGLE_API_KEY="two")) == "two"
    assert key_of(loaded(monkeypatch, GEMINI_API_KEY="one", GOOGLE_API_KEY="")) == "one"


def test_a_key_is_sent_without_the_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of(loaded(monkeypatch, GEMINI_API_KEY=" key\n")) == "key"
    assert key_of(loaded(monkeypatch, GEMINI_API_KEY="  ")) is None


def test_several_schedulers_are_named_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_SCHEDULER_ADDRESS", "a:1, dns:///b:2 ,")

    assert load(ExecutorSettings).scheduler_address == ("a:1", "dns:///b:2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXECUTOR_CAPACITY", "0"),
        ("EXECUTOR_SCHEDULER_ADDRESS", ","),
        ("EXECUTOR_SCHEDULER_ADDRESS", "nowhere"),
        ("GOOGLE_GEMINI_BASE_URL", "emulator:8090"),
        ("GOOGLE_GEMINI_BASE_URL", "http://emulator:port"),
        ("EXECUTOR_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        load(ExecutorSettings)


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(monkeypatch, GEMINI_API_KEY="schlüssel")

    assert "schlüssel" not in str(caught.value)


def test_the_spool_of_a_user_without_a_home_is_a_temporary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)

    assert "visionjobs-spool" in str(loaded(monkeypatch).spool_dir)


def test_a_key_file_must_hold_a_key_at_start_but_not_for_a_health_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    with pytest.raises(SettingsError, match=r"EXECUTOR_API_KEY_FILE is wrong: .* cannot be read"):
        loaded(monkeypatch, EXECUTOR_API_KEY_FILE=str(file))
    file.write_text("\n")
    with pytest.raises(SettingsError, match=r"EXECUTOR_API_KEY_FILE is wrong: .* holds no key"):
        loaded(monkeypatch, EXECUTOR_API_KEY_FILE=str(file))
    assert load(ExecutorSettings, files=False).api_key_file == file

    file.write_text("vj_0_0\n")
    assert loaded(monkeypatch, EXECUTOR_API_KEY_FILE=str(file)).read_api_key is not None
