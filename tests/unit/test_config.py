"""Settings come from the environment, whole and checked."""

from dataclasses import replace
from pathlib import Path

import pytest

from readingroom_hub.config import Settings, load
from readingroom_hub.errors import BadInput


def test_defaults_need_nothing():
    assert load({}) == Settings()


def test_settings_survive_the_way_to_a_child_process():
    settings = replace(
        Settings(), state=Path("/srv/rr"), required_amr=("mfa",), uid_range=(1000, 2000), oidc_ca_file=Path("/ca.pem")
    )
    assert load(settings.to_environ()) == settings


def test_a_misspelt_variable_is_an_error_that_names_it():
    with pytest.raises(BadInput, match="READINGROOM_STAET"):
        load({"READINGROOM_STAET": "/srv"})


def test_a_value_of_the_wrong_kind_is_an_error_that_names_it():
    with pytest.raises(BadInput, match="READINGROOM_SESSION_HOURS='soon'"):
        load({"READINGROOM_SESSION_HOURS": "soon"})


def test_a_child_gets_nothing_secret_of_the_callers_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "AWS_SECRET_ACCESS_KEY" not in Settings().to_environ()


def test_folders_are_private(tmp_path):
    paths = Settings(state=tmp_path / "state").paths
    paths.make()
    assert all(p.stat().st_mode & 0o077 == 0 for p in (paths.state, paths.keys, paths.run, paths.mounts))
