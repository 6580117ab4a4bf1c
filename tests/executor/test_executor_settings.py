from ipaddress import ip_network
from pathlib import Path

import pytest

from executor.settings import DEFAULT_BASE_URL, ExecutorSettings
from runtime.settings import SettingsError, load

NAMES = (
    "DEEPSEEK_API_KEY",
    "EXECUTOR_CAPACITY",
    "EXECUTOR_DEEPSEEK_BASE_URL",
    "EXECUTOR_LANES",
    "EXECUTOR_SPOOL_DIR",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
)


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

    assert (settings.capacity, settings.lanes, settings.drain_seconds) == (3, (), 300)
    assert (settings.scheduler_address, settings.health_address) == (("127.0.0.1:50051",), "127.0.0.1:50052")
    assert (settings.base_url, settings.gemini_api_version) == (DEFAULT_BASE_URL, "v1beta")
    assert settings.deepseek_base_url == "https://api.deepseek.com"
    assert settings.provider_keys == {}


def test_each_provider_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, GEMINI_API_KEY="one", DEEPSEEK_API_KEY=" two\n")

    assert settings.provider_keys == {"gemini": "one", "deepseek": "two"}


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
        ("EXECUTOR_DEEPSEEK_BASE_URL", "emulator:8090"),
        ("EXECUTOR_LANES", "deepseek"),
        ("EXECUTOR_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        load(ExecutorSettings)


@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "DEEPSEEK_API_KEY"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(monkeypatch, **{name: "schlüssel"})

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


def test_images_are_bounded_and_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch)

    assert (settings.image_workers, settings.image_worker_memory_mib, settings.image_seconds) == (1, 2048, 20)
    assert settings.max_image_side == 0
    assert (settings.uri_seconds, settings.uri_allowed_hosts, settings.uri_allowed_networks) == (20, (), ())


def test_hosts_and_networks_to_fetch_images_from_come_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        EXECUTOR_URI_ALLOWED_HOSTS="images.example, *.cdn.example,10.1.2.3",
        EXECUTOR_URI_ALLOWED_NETWORKS="10.1.0.0/16,fd00::/8",
    )

    assert settings.uri_allowed_hosts == ("images.example", "*.cdn.example", "10.1.2.3")
    assert settings.uri_allowed_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXECUTOR_URI_ALLOWED_HOSTS", "https://images.example"),
        ("EXECUTOR_URI_ALLOWED_HOSTS", "images.example:443"),
        ("EXECUTOR_URI_ALLOWED_HOSTS", "*"),
        ("EXECUTOR_URI_ALLOWED_NETWORKS", "inside"),
        ("EXECUTOR_URI_ALLOWED_NETWORKS", "10.1.2.3/16"),
        ("EXECUTOR_IMAGE_WORKERS", "0"),
        ("EXECUTOR_IMAGE_WORKER_MEMORY_MIB", "10"),
        ("EXECUTOR_MAX_IMAGE_SIDE", "-1"),
    ],
)
def test_a_wrong_setting_of_images_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        loaded(monkeypatch, **{name: value})
