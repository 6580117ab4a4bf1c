from pathlib import Path

import pytest

from devkit.certificates import Authority
from executor.doors import DoorsOpen, check_doors, client_tls, health_tls
from executor.settings import ExecutorSettings
from runtime.reloading import UnusableFile
from runtime.settings import SettingsError, load


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def loaded(**variables: str) -> ExecutorSettings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return load(ExecutorSettings)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    files = Authority(tmp_path).issue("executor", "127.0.0.1")
    return {
        "EXECUTOR_TLS_CERTIFICATE_FILE": str(files.certificate),
        "EXECUTOR_TLS_KEY_FILE": str(files.key),
    }


def test_this_machine_alone_needs_nothing() -> None:
    check_doors(loaded(EXECUTOR_SCHEDULER_ADDRESS="127.0.0.1:1,localhost:2,dns:///localhost:3"))


def test_a_scheduler_elsewhere_is_not_dialled_without_a_key_and_tls() -> None:
    elsewhere = {"EXECUTOR_SCHEDULER_ADDRESS": "127.0.0.1:1,dns:///scheduler:2"}

    with pytest.raises(DoorsOpen, match=r"dns:///scheduler:2.* EXECUTOR_API_KEY_FILE .* EXECUTOR_TLS=true.*INSECURE"):
        check_doors(loaded(**elsewhere))
    with pytest.raises(DoorsOpen, match="set EXECUTOR_TLS=true"):
        check_doors(loaded(**elsewhere, EXECUTOR_API_KEY="k"))
    with pytest.raises(DoorsOpen, match="set EXECUTOR_API_KEY_FILE"):
        check_doors(loaded(**elsewhere, EXECUTOR_TLS="true"))
    check_doors(loaded(**elsewhere, EXECUTOR_API_KEY="k", EXECUTOR_TLS="true"))
    check_doors(loaded(**elsewhere, EXECUTOR_INSECURE="true"))


def test_health_is_not_shown_elsewhere_without_a_certificate(pair: dict[str, str]) -> None:
    shown = {"EXECUTOR_HEALTH_ADDRESS": "0.0.0.0:50052", "EXECUTOR_API_KEY": "k"}

    with pytest.raises(DoorsOpen, match=r"EXECUTOR_HEALTH_ADDRESS \(0\.0\.0\.0:50052\).*EXECUTOR_TLS_CERTIFICATE_FILE"):
        check_doors(loaded(**shown, EXECUTOR_TLS="true"))
    check_doors(loaded(**shown, **pair))


def test_any_tls_setting_says_that_dials_go_by_tls(pair: dict[str, str], tmp_path: Path) -> None:
    assert client_tls(loaded()) is None
    assert client_tls(loaded(EXECUTOR_TLS="true")) is not None
    assert client_tls(loaded(EXECUTOR_TLS_CA_FILE=str(tmp_path / "ca.pem"))) is not None
    assert client_tls(loaded(**pair)) is not None
    assert client_tls(loaded(**pair, EXECUTOR_TLS="false")) is None
    assert client_tls(loaded(SSL_CERT_FILE=str(tmp_path / "ca.pem"))) is None


def test_the_health_port_serves_by_tls_if_there_is_a_certificate(pair: dict[str, str]) -> None:
    assert health_tls(loaded()) is None
    assert health_tls(loaded(EXECUTOR_TLS="true")) is None
    assert health_tls(loaded(**pair)) is not None


def test_files_that_cannot_be_used_are_told_by_their_setting(pair: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="EXECUTOR_TLS_CA_FILE"):
        client_tls(loaded(EXECUTOR_TLS_CA_FILE=str(tmp_path / "missing")))
    Path(pair["EXECUTOR_TLS_KEY_FILE"]).write_text("no key")
    with pytest.raises(UnusableFile, match="EXECUTOR_TLS_KEY_FILE"):
        health_tls(loaded(**pair))


def test_a_key_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\n")
    read = loaded(EXECUTOR_API_KEY_FILE=str(file)).read_api_key
    assert read is not None
    assert read() == "one"
    file.write_text("two")

    assert read() == "two"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"EXECUTOR_TLS_CERTIFICATE_FILE": "a.pem"}, "EXECUTOR_TLS_KEY_FILE"),
        ({"EXECUTOR_TLS_KEY_FILE": "a.key"}, "EXECUTOR_TLS_KEY_FILE"),
        ({"EXECUTOR_TLS_CA_FILE": "ca.pem", "EXECUTOR_TLS": "false"}, "EXECUTOR_TLS_CA_FILE"),
        ({"EXECUTOR_API_KEY_FILE": "missing"}, "EXECUTOR_API_KEY_FILE"),
        ({"EXECUTOR_API_KEY_FILE": "/dev/null"}, "EXECUTOR_API_KEY_FILE"),
        ({"EXECUTOR_API_KEY_FILE": "/dev/null", "EXECUTOR_API_KEY": "k"}, "EXECUTOR_API_KEY_FILE"),
        ({"EXECUTOR_API_KEY": "schlüssel"}, "EXECUTOR_API_KEY"),
        ({"EXECUTOR_BASE_URL": "http://a"}, "EXECUTOR_BASE_URL"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(variables: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} ") as caught:
        loaded(**variables)

    assert "schlüssel" not in str(caught.value)
