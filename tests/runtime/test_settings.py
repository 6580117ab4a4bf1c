from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime.settings import ProgramSettings, SettingsError, load, load_or_exit


class ShopSettings(ProgramSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    name: str
    size: int = Field(3, ge=1)
    key: str | None = Field(None, validation_alias="VENDOR_KEY")


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ShopSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(ShopSettings, variables)


def test_values_come_from_prefixed_variables_and_vendors_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, SHOP_NAME="corner", VENDOR_KEY="k")

    assert (settings.name, settings.size, settings.key) == ("corner", 3, "k")


def test_a_misspelt_variable_is_named_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"SHOP_SIZ is unknown. Did you mean SHOP_SIZE\?"):
        loaded(monkeypatch, SHOP_NAME="corner", SHOP_SIZ="3")


def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="SHOP_SIZE is wrong: Input should be greater than or equal to 1"):
        loaded(monkeypatch, SHOP_NAME="corner", SHOP_SIZE="0")


def test_a_missing_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="SHOP_NAME is required"):
        loaded(monkeypatch)


def test_what_kubernetes_injects_for_a_service_of_that_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        SHOP_NAME="corner",
        SHOP_PORT="tcp://10.0.0.1:80",
        SHOP_SERVICE_HOST="10.0.0.1",
        SHOP_PORT_80_TCP_ADDR="10.0.0.1",
    )

    assert settings.name == "corner"


def test_a_program_with_wrong_settings_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOP_NAME", "corner")
    monkeypatch.setenv("SHOP_SIZE", "many")

    with pytest.raises(SystemExit) as ended:
        load_or_exit(ShopSettings)

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("The setting SHOP_SIZE is wrong:")


class WithFile(ProgramSettings):
    model_config = SettingsConfigDict(env_prefix="FILED_")
    file: Path

    def check_files(self) -> None:
        if not self.file.exists():
            raise SettingsError("FILED_FILE is missing.")


def test_files_are_checked_for_programs_that_need_them_and_not_for_a_health_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILED_FILE", str(tmp_path / "away"))

    with pytest.raises(SettingsError, match="FILED_FILE is missing"):
        load(WithFile)
    assert load(WithFile, files=False).file == tmp_path / "away"
