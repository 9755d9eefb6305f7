from __future__ import annotations

import os

import pytest

from marble_images.errors import SettingsError
from marble_images.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_nothing_needs_to_be_set_to_load() -> None:
    settings = Settings.load()
    assert settings.image_bucket is None
    assert (settings.schedule_hour, settings.schedule_minute) == (5, 30)
    assert settings.processes == len(os.sched_getaffinity(0))


def test_what_is_missing_is_named_in_one_line() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load().require_pipeline()
    assert "IMAGE_BUCKET is not set" in caught.value.reason
    assert "STATE_BUCKET is not set" in caught.value.reason
    assert "\n" not in caught.value.reason


def test_the_queue_is_found_directly_or_through_ssm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_BUCKET", "images")
    monkeypatch.setenv("STATE_BUCKET", "state")
    with pytest.raises(SettingsError, match="GRAPHQL_API_URL is not set, nor GRAPHQL_API_URL_KEY_PATH"):
        Settings.load().require_pipeline()
    monkeypatch.setenv("GRAPHQL_API_URL_KEY_PATH", "/all/url")
    with pytest.raises(SettingsError, match="GRAPHQL_API_KEY is not set"):
        Settings.load().require_pipeline()
    monkeypatch.setenv("GRAPHQL_API_KEY", "secret")
    Settings.load().require_pipeline()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_BUCKET", "")
    monkeypatch.setenv("SCHEDULE_HOUR", "")
    assert Settings.load().image_bucket is None
    assert Settings.load().schedule_hour == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCHEDULE_HOUR", "five"),
        ("SCHEDULE_HOUR", "24"),
        ("SCHEDULE_MINUTE", "-1"),
        ("FIRST_DAY", "2021-13-01"),
        ("FILES_PER_RUN", "0"),
        ("MAX_REMOVED_FRACTION", "2"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} cannot be used"):
        Settings.load()


def test_hosts_and_ports_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_SOURCE_HOSTS", "127.0.0.1, images.local:8080 ,")
    monkeypatch.setenv("ALLOWED_SOURCE_PORTS", "8080, 8443")
    settings = Settings.load()
    assert settings.source_hosts == {"127.0.0.1", "images.local:8080"}
    assert settings.source_ports == {8080, 8443}
    monkeypatch.setenv("ALLOWED_SOURCE_PORTS", "http")
    with pytest.raises(SettingsError, match="ALLOWED_SOURCE_PORTS"):
        _ = Settings.load().source_ports


def test_the_key_is_not_in_what_a_settings_object_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHQL_API_KEY", "da2-very-secret")
    assert "da2-very-secret" not in repr(Settings.load())


@pytest.mark.parametrize(
    ("gigabytes", "processes", "share"), [(4, 2, 1.5), (4, 1, 3), (64, 8, 3), (1, 2, 0.5), (16, 8, 1.875)]
)
def test_conversions_share_the_memory_that_there_is(
    gigabytes: float, processes: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marble_images.settings.memory", lambda: int(gigabytes * 2**30))
    assert Settings.load().memory_of_one(processes) == share * 2**30
    monkeypatch.setenv("CONVERSION_MEMORY", str(2**28))
    assert Settings.load().memory_of_one(processes) == 2**28
