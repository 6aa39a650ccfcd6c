"""Signing in for real: Canaille, JupyterHub, Traefik, the portal and the audit record repository, all as processes."""

import re
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.browser import HttpBrowser
from tests.support.hub_room import HubRoom, running_room

from readingroom_hub import compose
from readingroom_hub.model.ids import ProjectId


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    with running_room(tmp_path_factory.mktemp("room")) as running:
        audit = compose.audit(running.settings, "test")
        projects = compose.projects(running.settings, audit)
        steward = audit.identify("test", "setup", "Setup")
        ends = datetime.now(UTC) + timedelta(days=100)
        projects.create(ProjectId("chest-ct"), "Chest CT", "Dr Owner", ends, steward)
        yield running


@pytest.fixture(scope="module")
def signed_in(room):
    """Browsers of people who are in. Canaille cannot give one person two tokens within one second."""
    browsers = {}

    def browser(name: str) -> HttpBrowser:
        if name not in browsers:
            browsers[name] = room.browser()
            browsers[name].sign_in(room.url, room.people[name])
        return browsers[name]

    yield browser
    for each in browsers.values():
        each.close()


def test_password_and_second_factor_lead_to_my_projects(room: HubRoom):
    with room.browser() as browser:
        answer = browser.sign_in(room.url, room.people["rosa"])
        assert (answer.status_code, answer.url) == (200, f"{room.url}/hub/home")
        assert "Rosa Rossi" in answer.text
        assert "Chest CT" in answer.text
        assert "brain-mr" not in answer.text
        user = re.search(r'data-user="(u-[0-9a-f]{20})"', answer.text)[1]
        newest = room.records("sign-in")[0]
        assert newest.record["outcome"] == "success"
        assert newest.person_name == "Rosa Rossi"
        assert newest.record["person"].startswith("p-" + user[2:])
        assert "otp" in newest.record["subject"]["amr"]
        assert "rosa" not in str(newest.record).lower(), "no name in a record"
        members = compose.open_catalogue(room.settings).projects.members(ProjectId("chest-ct"))
        assert [m.person for m in members] == [newest.record["person"]]
        browser.get(f"{room.url}/hub/logout")
        out = room.records("sign-out")[0]
        assert out.record["person"] == newest.record["person"]
        assert browser.get(f"{room.url}/hub/home").url.startswith(f"{room.url}/hub/login")


def test_a_wrong_code_does_not_get_in(room: HubRoom):
    before = len(room.records("sign-in"))
    with room.browser() as browser:
        wrong = f"{(int(room.people['noah'].code()) + 1) % 10**6:06d}"
        answer = browser.sign_in(room.url, room.people["noah"], code=wrong)
        assert "/hub/home" not in answer.url
        assert browser.get(f"{room.url}/hub/home").url.startswith(f"{room.url}/hub/login")
    assert len(room.records("sign-in")) == before


def test_an_answer_that_nobody_asked_for_is_refused_and_recorded(room: HubRoom):
    with room.browser() as browser:
        for query in (
            "code=secret1&state=def",
            "code=secret1",
            "error=access_denied&error_description=%3Cb%3E",
            "state=x",
        ):
            answer = browser.get(f"{room.url}/hub/oauth_callback?{query}")
            assert answer.status_code in {403, 502}
            assert "ign in again" in answer.text or "ended the sign-in" in answer.text
            assert "<b>" not in answer.text
    newest = room.records("sign-in")[0].record
    assert (newest["outcome"], newest["reason"].split(":")[0]) == ("denied", "wrong-state")
    assert "secret1" not in (room.settings.paths.logs / "hub.log").read_text()


def test_servers_belong_to_projects(room: HubRoom, signed_in):
    browser = signed_in("rita")
    user = re.search(r'data-user="([^"]+)"', browser.get(f"{room.url}/hub/home").text)[1]
    for path in (f"spawn/{user}", f"spawn/{user}/brain-mr", "spawn"):
        refused = browser.get(f"{room.url}/hub/{path}")
        assert refused.status_code == 403, path
        assert "start it from “My projects”" in refused.content.decode()
    newest = room.records("request-refused")
    assert newest[0].record["person"].startswith("p-" + user[2:])
    assert newest[1].record["project"] == "brain-mr"


def test_nobody_makes_tokens(room: HubRoom, signed_in):
    browser = signed_in("rita")
    page = browser.get(f"{room.url}/hub/home").text
    user = re.search(r'data-user="([^"]+)"', page)[1]
    headers = {"X-XSRFToken": re.search(r'data-xsrf="([^"]+)"', page)[1], "Origin": room.url}
    made = browser.post(f"{room.url}/hub/api/users/{user}/tokens", json={}, headers=headers)
    assert made.status_code in {403, 404}


def test_the_portal_knows_roles_by_the_groups(room: HubRoom, signed_in):
    browser = signed_in("sam")
    page = browser.get(f"{room.url}/services/portal/reads?show=all")
    assert (page.status_code, page.url) == (200, f"{room.url}/services/portal/reads?show=all")
    assert "Sam Steward" in page.text
    assert "signed in" in page.text
    assert "whose signature by" in page.text, "the checkpoint's signature is the log's"
    assert page.headers["strict-transport-security"] == "max-age=63072000"
    cookies = {c.name: c for c in browser.cookies}
    assert cookies["readingroom-portal"].secure
    assert cookies["readingroom-portal"].has_nonstandard_attr("HttpOnly")
    reviewer = signed_in("rita")
    assert reviewer.get(f"{room.url}/services/portal/").status_code == 200
    refused = reviewer.get(f"{room.url}/services/portal/reads")
    assert refused.status_code == 403
    assert "rr-role-" in refused.text


def test_cookies_and_headers(room: HubRoom, signed_in):
    browser = signed_in("rita")
    answer = browser.get(f"{room.url}/hub/home")
    for cookie in browser.cookies:
        assert cookie.secure, cookie.name
        if cookie.name.startswith("jupyterhub"):
            assert cookie.expires is None, "closing the browser signs out"
    assert answer.headers["content-security-policy"].startswith("frame-ancestors 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_tls_1_3_only(room: HubRoom):
    for url in (room.url, room.settings.oidc_issuer):
        port = int(url.rsplit(":", 1)[1])
        context = ssl.create_default_context(cafile=str(room.settings.oidc_ca_file))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLError):
            context.wrap_socket(raw, server_hostname="localhost")


def test_without_a_second_factor_nobody_gets_in(room: HubRoom):
    with room.provider_asking_for("password"), room.browser() as browser:
        answer = browser.sign_in(room.url, room.people["noah"])
        assert answer.status_code == 403
        assert "signed you in without a second factor" in answer.text
        assert browser.get(f"{room.url}/hub/home").url.startswith(f"{room.url}/hub/login")
        newest = room.records("sign-in")[0]
        assert (newest.record["outcome"], newest.record["reason"].split(":")[0]) == ("denied", "second-factor-missing")
        assert newest.person_name == "Noah Novak"


def test_a_flood_of_answers_does_not_fill_the_record(room: HubRoom):
    before = len(room.records("sign-in"))
    with room.browser() as browser:
        codes = {browser.get(f"{room.url}/hub/oauth_callback?state=x").status_code for _ in range(60)}
    assert 429 in codes
    assert len(room.records("sign-in")) - before < 60


def test_without_the_audit_record_nobody_signs_in(room: HubRoom):
    """Last: it stops the audit record repository."""
    with room.browser() as browser:
        deadline = time.monotonic() + 30
        while browser.get(f"{room.url}/hub/oauth_login", allow_redirects=False).status_code == 429:
            assert time.monotonic() < deadline
        room.stop_audit()
        answer = browser.sign_in(room.url, room.people["noah"])
        assert answer.status_code == 503
        assert "Sign-in is not possible while the audit record is unavailable" in answer.text
        assert browser.get(f"{room.url}/hub/home").url.startswith(f"{room.url}/hub/login")
