"""JupyterHub's configuration as a function of the settings: what must hold whatever an operator sets."""

import copy

import pytest
from cryptography import x509
from traitlets.config import Config

from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.jhub.configure import apply
from readingroom_hub.jhub.stored import door_key
from readingroom_hub.jhub.tls import server_tls


@pytest.fixture
def settings(tmp_path) -> Settings:
    secret = tmp_path / "client.secret"
    secret.write_text("the-client-secret\n")
    return Settings(
        state=tmp_path / "state", oidc_issuer="https://idp.example:8444", oidc_client_secret_file=secret,
        demo_provider_port=8484,
    )  # fmt: skip


@pytest.fixture
def c(settings) -> Config:
    config = Config()
    apply(config, settings)
    return copy.deepcopy(config)  # as traitlets does


def test_everything_but_the_edge_listens_on_loopback(c):
    assert c.JupyterHub.hub_bind_url == "http://127.0.0.1:8481"
    assert c.Edge.traefik_api_url == "http://127.0.0.1:8482"
    assert c.JupyterHub.services[0]["url"] == "http://127.0.0.1:8483"
    points = c.Edge.extra_static_config["entryPoints"]
    assert points["provider"]["address"] == "127.0.0.1:8444"
    assert c.JupyterHub.bind_url == "https://127.0.0.1:8443"


def test_tls_is_1_3_and_says_so(c):
    assert c.Edge.extra_dynamic_config["tls"]["options"]["default"]["minVersion"] == "VersionTLS13"
    assert c.Edge.extra_dynamic_config["http"]["middlewares"]["headers"]["headers"]["stsSeconds"] >= 31536000


def test_sign_in_is_strict(c):
    a = c.ReadingRoomAuthenticator
    assert (a.auth_refresh_strict, a.enable_auth_state, a.manage_groups, a.refresh_pre_spawn) == (True,) * 4
    assert 0 < a.auth_refresh_age <= 300
    assert a.client_secret == "the-client-secret"
    assert a.oauth_callback_url == "https://localhost:8443/hub/oauth_callback"
    assert "allow_all" not in a
    assert "allow_all" not in c.Authenticator
    assert c.JupyterHub.oauth_require_pkce
    assert a.make_sign_in(), "survives the copy"


def test_servers_are_named_after_projects_and_nobody_has_more_than_needed(c):
    assert c.JupyterHub.allow_named_servers
    assert not c.JupyterHub.redirect_to_server
    (user,) = [r for r in c.JupyterHub.load_roles if r["name"] == "user"]
    scopes = user["scopes"] + c.Spawner.server_token_scopes
    assert all("!" in scope for scope in scopes), "each is limited to the person, the server or the portal"
    assert not any(s.startswith(("tokens", "admin", "self", "inherit")) for s in scopes)
    assert "admin_users" not in c.Authenticator


def test_cookies_end_with_the_day_and_the_browser(c):
    options = c.JupyterHub.tornado_settings["cookie_options"]
    assert options == {"expires_days": None, "secure": True, "samesite": "Lax"}
    assert c.JupyterHub.cookie_max_age_days == 8 / 24
    assert c.JupyterHub.tornado_settings["xsrf_cookie_kwargs"]["secure"]


def test_a_restart_of_the_hub_keeps_servers_and_secrets(c, settings):
    assert c.JupyterHub.cleanup_servers is False
    again = Config()
    apply(again, settings)
    assert again.JupyterHub.cookie_secret == c.JupyterHub.cookie_secret
    assert again.CryptKeeper["keys"] == c.CryptKeeper["keys"]
    assert len(c.CryptKeeper["keys"][0]) == 32
    assert again.Edge.traefik_api_password != c.Edge.traefik_api_password, "of one start only"
    assert again.JupyterHub.ssl_cert == c.JupyterHub.ssl_cert


def test_secrets_are_the_owners_alone(c, settings):
    assert len(door_key(settings)) == 32
    for path in (settings.paths.hub, *settings.paths.hub.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_portal_gets_settings_but_not_the_callers_environment(c, monkeypatch, settings):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    apply(c, settings)
    environment = c.JupyterHub.services[0]["environment"]
    assert environment["READINGROOM_STATE"] == str(settings.state)
    assert "AWS_SECRET_ACCESS_KEY" not in environment


BAD = {
    "no issuer": ({"oidc_issuer": ""}, "READINGROOM_OIDC_ISSUER"),
    "no client secret": ({"oidc_client_secret_file": None}, "READINGROOM_OIDC_CLIENT_SECRET_FILE"),
    "client secret file is missing": ({"oidc_client_secret_file": "/nowhere/secret"}, "/nowhere/secret"),
    "plain http": ({"public_url": "http://hub.example"}, "READINGROOM_PUBLIC_URL"),
    "a path": ({"public_url": "https://hub.example/jupyter"}, "without a path"),
    "certificate without key": ({"tls_cert_file": "/nowhere/cert"}, "READINGROOM_TLS_KEY_FILE"),
    "certificate is missing": ({"tls_cert_file": "/nowhere/c", "tls_key_file": "/nowhere/k"}, "/nowhere/c"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_said_by_name(case, settings):
    from dataclasses import replace
    from pathlib import Path

    over, words = BAD[case]
    paths = {k: Path(v) if k.endswith("_file") and v else v for k, v in over.items()}
    with pytest.raises(BadInput, match=words):
        apply(Config(), replace(settings, **paths))


def test_the_demo_certificate_is_for_this_machine_only(settings):
    tls = server_tls(settings)
    assert server_tls(settings) == tls
    server, ca = x509.load_pem_x509_certificates(tls.cert.read_bytes())
    server.verify_directly_issued_by(ca)
    assert ca == x509.load_pem_x509_certificate(tls.ca.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert (server.not_valid_after_utc - server.not_valid_before_utc).days == 365
    assert {p.name for p in tls.cert.parent.iterdir()} == {"server.crt", "server.key", "ca.crt"}, "no authority's key"


def test_an_old_demo_certificate_is_renewed(settings, monkeypatch):
    from datetime import timedelta

    from readingroom_hub.jhub import tls as module

    first = server_tls(settings).cert.read_bytes()
    monkeypatch.setattr(module, "RENEW_BEFORE", timedelta(days=366))
    assert server_tls(settings).cert.read_bytes() != first


def test_an_operators_certificate_is_used_as_it_is(settings, tmp_path):
    from dataclasses import replace

    for name in ("c", "k"):
        (tmp_path / name).write_text("pem")
    tls = server_tls(replace(settings, tls_cert_file=tmp_path / "c", tls_key_file=tmp_path / "k"))
    assert (tls.cert, tls.ca) == (tmp_path / "c", None)
