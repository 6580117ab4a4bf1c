from pathlib import Path

import pytest

from devkit.certificates import Authority
from runtime.reloading import UnusableFile
from runtime.settings import SettingsError, load
from scheduler.doors import DoorsOpen, check_doors, server_tls
from scheduler.settings import SchedulerSettings

LOOPBACK = "127.0.0.1:1"


def check(
    *,
    grpc_address: str = LOOPBACK,
    http_address: str = LOOPBACK,
    tls: bool = False,
    keys_exist: bool = False,
    insecure: bool = False,
) -> None:
    check_doors(grpc_address=grpc_address, http_address=http_address, tls=tls, keys_exist=keys_exist, insecure=insecure)


def loaded(**variables: str) -> SchedulerSettings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SCHEDULER_DATABASE_URL": "postgresql://a", **variables}.items():
            patch.setenv(name, value)
        return load(SchedulerSettings)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    files = Authority(tmp_path).issue("scheduler", "127.0.0.1")
    return {
        "SCHEDULER_TLS_CERTIFICATE_FILE": str(files.certificate),
        "SCHEDULER_TLS_KEY_FILE": str(files.key),
    }


def test_loopback_may_stay_open() -> None:
    check()
    check(grpc_address="[::1]:1", http_address="localhost:2")


@pytest.mark.parametrize("setting", ["grpc_address", "http_address"])
@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "[::]:1", "scheduler.example:1"])
def test_another_address_needs_keys_and_tls(setting: str, address: str) -> None:
    named = rf"SCHEDULER_{setting.upper()} .*"
    open_to_others = {setting: address}

    with pytest.raises(DoorsOpen, match=named + "bootstrap-key.* and set SCHEDULER_TLS_CERTIFICATE_FILE.*INSECURE"):
        check(**open_to_others)  # type: ignore[arg-type]  # addresses only
    with pytest.raises(DoorsOpen, match=named + "so set SCHEDULER_TLS_CERTIFICATE_FILE"):
        check(**open_to_others, keys_exist=True)  # type: ignore[arg-type]  # as above
    with pytest.raises(DoorsOpen, match=named + "so make a first key"):
        check(**open_to_others, tls=True)  # type: ignore[arg-type]  # as above
    check(**open_to_others, tls=True, keys_exist=True)  # type: ignore[arg-type]  # as above


def test_a_door_may_be_left_open_on_purpose() -> None:
    check(grpc_address="0.0.0.0:1", http_address="0.0.0.0:2", insecure=True)


def test_the_ports_serve_by_tls_if_there_is_a_certificate(pair: dict[str, str], tmp_path: Path) -> None:
    assert server_tls(loaded()) is None
    one = server_tls(loaded(**pair))
    mutual = server_tls(loaded(**pair, SCHEDULER_TLS_CLIENT_CA_FILE=str(tmp_path / "ca.pem")))

    assert one is not None
    assert mutual is not None
    assert [file.role for file in one.files] == ["server"]
    assert [file.role for file in mutual.files] == ["server", "client_ca"]


def test_files_that_cannot_be_used_are_told_by_their_setting(pair: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="SCHEDULER_TLS_CLIENT_CA_FILE"):
        server_tls(loaded(**pair, SCHEDULER_TLS_CLIENT_CA_FILE=str(tmp_path / "missing")))
    another = Authority(tmp_path / "another").issue("another")
    with pytest.raises(UnusableFile, match=r"SCHEDULER_TLS_KEY_FILE is wrong: .* is not the key of"):
        server_tls(loaded(**pair | {"SCHEDULER_TLS_KEY_FILE": str(another.key)}))


def test_the_databases_password_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one\n")
    read = loaded(SCHEDULER_DATABASE_PASSWORD_FILE=str(file)).database_password
    assert read is not None
    assert read() == "one"
    file.write_text("two")

    assert read() == "two"
    assert loaded().database_password is None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"SCHEDULER_TLS_CERTIFICATE_FILE": "a.pem"}, "SCHEDULER_TLS_KEY_FILE"),
        ({"SCHEDULER_TLS_KEY_FILE": "a.key"}, "SCHEDULER_TLS_KEY_FILE"),
        ({"SCHEDULER_TLS_CLIENT_CA_FILE": "ca.pem"}, "SCHEDULER_TLS_CLIENT_CA_FILE"),
        ({"SCHEDULER_DATABASE_PASSWORD_FILE": "missing"}, "SCHEDULER_DATABASE_PASSWORD_FILE"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(variables: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong"):
        loaded(**variables)
