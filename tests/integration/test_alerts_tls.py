"""Alerts by mail and webhook to other machines: TLS under a private authority, login, and who is refused."""

import socket
from datetime import date

import pytest
from tests.support.alert_receivers import mail_relay, webhook
from tests.support.receivers import Authority

from readingroom_hub.adapters.alert_mail import Mail
from readingroom_hub.adapters.alert_webhook import Webhook
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.model.alert import Alert
from readingroom_hub.model.ids import PersonId

HOST, LINK, LOGIN = "mail.hospital.example", "https://room.example/alerts", "room:a secret: with a colon"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """A name that is not loopback's, at whose address the receivers of these tests are."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1" if host == HOST else host, *rest, **more)
    )


@pytest.fixture
def alert():
    return Alert("a-1", PersonId("p-" + "a" * 64), date(2027, 3, 31), ("volume",), (), "nothing to say")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


@pytest.fixture
def login(tmp_path):
    path = tmp_path / "login"
    path.write_text(LOGIN + "\n")
    return path


def mail(relay, authority, login=None):
    ca = authority.ca if authority else None
    return Mail(f"{HOST}:{relay.port}", "room@example.org", ["sam@example.org"], login, ca)


def hook(receiver, authority):
    return Webhook(f"https://{HOST}:{receiver.port}/in", None, authority.ca if authority else None)


def test_mail_goes_out_over_starttls_with_a_login(authority, login, alert):
    with mail_relay(authority.issue("relay", HOST), LOGIN) as relay:
        mail(relay, authority, login).send(alert, LINK)
    assert relay.logins == [LOGIN]
    ((_, message),) = relay.items
    assert LINK.encode() in message


def test_a_relay_that_does_not_know_us_is_unavailable(authority, login, alert):
    with mail_relay(authority.issue("relay", HOST), "room:another") as relay:
        with pytest.raises(StoreUnavailable, match="535") as caught:
            mail(relay, authority, login).send(alert, LINK)
        assert "a secret" not in str(caught.value)
        with pytest.raises(StoreUnavailable, match="530"):
            mail(relay, authority).send(alert, LINK)
    assert relay.items == []


def test_a_relay_without_tls_gets_neither_login_nor_alert(authority, login, alert):
    with mail_relay(login=LOGIN) as relay, pytest.raises(StoreUnavailable, match="STARTTLS"):
        mail(relay, authority, login).send(alert, LINK)
    assert (relay.logins, relay.items) == ([], [])


@pytest.mark.parametrize("wrong", ["authority", "name", "machine's own authorities"])
def test_a_relay_that_nobody_vouches_for_gets_neither_login_nor_alert(authority, login, alert, tmp_path, wrong):
    issuer = Authority(tmp_path / "other") if wrong == "authority" else authority
    trusted = None if wrong.startswith("machine") else authority
    tls = issuer.issue("relay", "elsewhere.example" if wrong == "name" else HOST)
    with mail_relay(tls, LOGIN) as relay, pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        mail(relay, trusted, login).send(alert, LINK)
    assert (relay.logins, relay.items) == ([], [])


def test_a_webhook_under_a_private_authority_gets_its_alert(authority, alert):
    with webhook(authority.issue("hook", HOST)) as receiver:
        hook(receiver, authority).send(alert, LINK)
    ((headers, body),) = receiver.items
    assert headers["path"] == "/in"
    assert LINK.encode() in body


@pytest.mark.parametrize("wrong", ["authority", "name", "machine's own authorities"])
def test_a_webhook_that_nobody_vouches_for_gets_nothing(authority, alert, tmp_path, wrong):
    issuer = Authority(tmp_path / "other") if wrong == "authority" else authority
    trusted = None if wrong.startswith("machine") else authority
    tls = issuer.issue("hook", "elsewhere.example" if wrong == "name" else HOST)
    with webhook(tls) as receiver, pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        hook(receiver, trusted).send(alert, LINK)
    assert receiver.items == []
