"""The demo's people: random, kept, private; their second factor is what an authenticator app computes."""

import json
import stat
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from readingroom_hub.config import Settings
from readingroom_hub.demo.identity import STORY, DemoPerson, DemoProvider
from readingroom_hub.errors import SystemUnfit

VENV = Path(__file__).parents[2] / ".venv-idp"


@pytest.fixture
def provider(tmp_path) -> DemoProvider:
    settings = Settings(state=tmp_path)
    settings.paths.make()
    return DemoProvider(settings, VENV)


def test_people_are_drawn_once_and_kept(provider, tmp_path):
    people = provider.ensure()
    assert provider.ensure() == people
    assert [p.user_name for p in people] == [who for who, _, _ in STORY]
    assert len({p.password for p in people} | {p.totp_secret for p in people}) == 2 * len(people)
    other = tmp_path / "other"
    Settings(state=other).paths.make()
    assert DemoProvider(Settings(state=other), VENV).ensure()[0].password != people[0].password
    for path in (*(tmp_path / "demo").iterdir(), *(tmp_path / "idp").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_code_is_what_an_authenticator_app_shows(provider):
    person = provider.ensure()[0]
    query = parse_qs(urlsplit(person.otpauth_uri).query)
    app = pyotp.TOTP(query["secret"][0])
    assert pyotp.parse_uri(person.otpauth_uri).secret == query["secret"][0]
    for at in (0, 59, 1111111109, 2000000000):
        assert person.code(at) == app.at(at)


def test_a_code_of_rfc_6238():
    person = DemoPerson("a", "A B", (), "p", "12345678901234567890")
    assert person.code(59) == "94287082"[2:]
    assert person.code(1111111109) == "07081804"[2:]


@pytest.mark.parametrize(("at", "waited"), [(1000.0, 0.0), (1014.5, 0.0), (1015.5, 4.6), (1019.9, 0.2)])
def test_a_code_to_type_in_has_seconds_left(monkeypatch, at, waited):
    clock = [at]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    person = DemoPerson("a", "A B", (), "p", "12345678901234567890")
    assert person.fresh_code() == person.code(at + waited + 4.9)
    assert clock[0] == pytest.approx(at + waited)


def test_the_hub_gets_settings_that_trust_it(provider, tmp_path):
    provider.ensure()
    settings = provider.settings
    assert settings.oidc_issuer == "https://localhost:8444"
    assert (
        settings.oidc_client_secret_file.read_text()
        == json.loads((tmp_path / "idp/wanted.json").read_text())["client_secret"]
    )
    assert settings.oidc_ca_file.exists()
    assert settings.demo_provider_port == 8484


def test_a_missing_installation_says_what_to_do(tmp_path):
    with pytest.raises(SystemUnfit, match="make install"):
        DemoProvider(Settings(state=tmp_path), tmp_path / "nothing").ensure()
