"""The authenticator's decisions, with ID tokens that are really signed: a table of what is wrong with a sign-in."""

import asyncio
import json
import time
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.fakes import MemoryAuditRepository
from tornado import web
from tornado.httpclient import HTTPClientError

from readingroom_hub.config import Settings
from readingroom_hub.errors import NotFound
from readingroom_hub.jhub.authenticator import ReadingRoomAuthenticator
from readingroom_hub.jhub.oidc import nonce_for
from readingroom_hub.model.project import Role
from readingroom_hub.services.projects import ProjectService
from readingroom_hub.services.signin import SignIn

ISSUER = "https://idp.example"
CLIENT = "readingroom"
STATE = "state-cookie"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(key, kid: str, algorithm) -> dict:
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


KEYS = {
    "keys": [
        jwk(RSA_KEY, "rsa", jwt.algorithms.RSAAlgorithm),
        jwk(EC_KEY, "ec", jwt.algorithms.ECAlgorithm),
    ]
}
DISCOVERY = {
    "issuer": ISSUER,
    "authorization_endpoint": ISSUER + "/authorize",
    "token_endpoint": ISSUER + "/token",
    "userinfo_endpoint": ISSUER + "/userinfo",
    "jwks_uri": ISSUER + "/keys",
}


class Projects:
    """Memberships in memory."""

    def __init__(self) -> None:
        self.known = [SimpleNamespace(id=i) for i in ("chest-ct", "brain-mr")]
        self.held: dict = {}

    def all(self):
        return self.known

    def get(self, id):
        raise NotFound(id)

    def of_person(self, person):
        return [m for (_, who), m in self.held.items() if who == person]

    def set_member(self, member):
        self.held[member.project, member.person] = member

    def remove_member(self, project, person):
        self.held.pop((project, person), None)


class World:
    """A provider that answers what a test wants, and the authenticator that asks it."""

    def __init__(self, **settings) -> None:
        self.audit = MemoryAuditRepository()
        self.projects = Projects()
        sign_in = SignIn(self.audit, ProjectService(self.projects, self.audit), Settings(**settings))
        self.claims = {
            "iss": ISSUER, "sub": "s1", "aud": CLIENT, "exp": time.time() + 300, "iat": time.time(),
            "nonce": nonce_for(STATE), "amr": ["pwd", "otp", "mfa"],
        }  # fmt: skip
        self.userinfo = {"sub": "s1", "name": "Rosa", "groups": ["rr-project-chest-ct", "staff"]}
        self.key, self.headers, self.algorithm = RSA_KEY, {"kid": "rsa"}, "RS256"
        self.answers: dict = {ISSUER + "/.well-known/openid-configuration": DISCOVERY, ISSUER + "/keys": KEYS}
        self.asked: list[str] = []
        self.authenticator = ReadingRoomAuthenticator(
            make_sign_in=lambda: sign_in, issuer=ISSUER, client_id=CLIENT, client_secret="c", enable_auth_state=True
        )
        self.authenticator.httpfetch = self.fetch

    async def fetch(self, url, label="", **_):
        self.asked.append(url)
        answer = self.answers.get(url)
        if url == ISSUER + "/token" and answer is None:
            token = jwt.encode(self.claims, self.key, self.algorithm, headers=self.headers)
            answer = {"access_token": "at", "id_token": token, "refresh_token": "rt", "token_type": "Bearer"}
        if url == ISSUER + "/userinfo" and answer is None:
            answer = self.userinfo
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sign_in(self):
        handler = SimpleNamespace(get_argument=lambda *_: "code", get_state_cookie=lambda: STATE)
        self.authenticator.enable_pkce = False
        self.authenticator.get_callback_url = lambda *_: "https://hub/cb"
        return await self.authenticator.get_authenticated_user(handler, None)

    def refused(self) -> web.HTTPError:
        with pytest.raises(web.HTTPError) as caught:
            asyncio.run(self.sign_in())
        return caught.value

    def last_reason(self) -> str:
        record = self.audit.records[-1]
        assert (record["event"], record["outcome"]) == ("sign-in", "denied")
        return record["reason"].split(":")[0]


def test_a_good_sign_in_is_recorded_before_it_counts():
    world = World()
    world.userinfo["groups"].append("rr-role-steward")
    model = asyncio.run(world.sign_in())
    (person,) = [i.person for i in world.audit.people("s1")]
    assert model["name"] == person.hub_name == "u-" + person[2:22]
    assert model["groups"] == ["rr-project-chest-ct", "rr-role-steward"], "other groups give nothing"
    assert model["user_info"] == {"person": person}
    assert model["auth_state"]["name"] == "Rosa"
    assert model["admin"] is False
    assert world.audit.events() == ["sign-in", "member-changed"]
    assert world.audit.records[0]["subject"] == {"roles": ["steward"], "amr": ["mfa", "otp", "pwd"]}
    assert [m.role for m in world.projects.of_person(person)] == [Role.STEWARD]


def test_people_are_told_apart_by_issuer_and_subject_not_by_name():
    world = World()
    first = asyncio.run(world.sign_in())["name"]
    world.claims["sub"] = world.userinfo["sub"] = "s2"
    assert asyncio.run(world.sign_in())["name"] != first


def claim(**over):
    def change(world: World) -> None:
        for name, value in over.items():
            world.claims.pop(name) if value is None else world.claims.update({name: value})

    return change


def sign(key, algorithm, **headers):
    def change(world: World) -> None:
        world.key, world.algorithm, world.headers = key, algorithm, headers

    return change


def info(**over):
    return lambda world: world.userinfo.update(over)


def answer(path, value):
    return lambda world: world.answers.update({ISSUER + path: value})


WELL_KNOWN = "/.well-known/openid-configuration"
PLAIN = {"token_endpoint": "http://idp.example/token"}
WRONG = {
    "password only": (claim(amr=["pwd"]), 403, "second-factor-missing"),
    "no amr": (claim(amr=None), 403, "second-factor-missing"),
    "amr is no list": (claim(amr="otp"), 403, "second-factor-missing"),
    "amr of nested junk": (claim(amr=[["otp"], {"mfa": 1}, 7]), 403, "second-factor-missing"),
    "no group": (info(groups=[]), 403, "no-rights"),
    "other groups": (info(groups=["staff", "rr-project-NO", "rr-role-boss", "xrr-role-owner"]), 403, "no-rights"),
    "groups left out for length": (info(groups=None, _claim_names={"groups": "src1"}), 403, "too-many-groups"),
    "another audience": (claim(aud="other"), 403, "wrong-audience"),
    "several audiences, not for us": (claim(aud=[CLIENT, "other"], azp="other"), 403, "wrong-audience"),
    "no audience": (claim(aud=None), 403, "claim-missing"),
    "another issuer": (claim(iss="https://evil.example"), 403, "wrong-issuer"),
    "another nonce": (claim(nonce="n"), 403, "wrong-nonce"),
    "no nonce": (claim(nonce=None), 403, "wrong-nonce"),
    "expired": (claim(exp=time.time() - 3600), 403, "token-expired"),
    "no expiry": (claim(exp=None), 403, "claim-missing"),
    "no subject": (claim(sub=None), 403, "claim-missing"),
    "from the future": (claim(iat=time.time() + 3600), 403, "token-malformed"),
    "signed by somebody": (sign(OTHER_KEY, "RS256", kid="rsa"), 403, "bad-signature"),
    "signed by an unknown key": (sign(OTHER_KEY, "RS256", kid="new"), 403, "unknown-key"),
    "signed by nobody": (sign(None, "none"), 403, "wrong-algorithm"),
    "signed with the client secret": (sign("c" * 32, "HS256", kid="rsa"), 403, "wrong-algorithm"),
    "key of another kind": (sign(RSA_KEY, "RS256", kid="ec"), 403, "token-malformed"),
    "userinfo about another": (info(sub="s2"), 403, "wrong-subject"),
    "no ID token": (answer("/token", {"access_token": "at"}), 502, "provider-error"),
    "ID token is junk": (answer("/token", {"access_token": "at", "id_token": "a.b.c"}), 403, "token-malformed"),
    "token endpoint refuses": (answer("/token", HTTPClientError(400)), 502, "provider-error"),
    "userinfo is down": (answer("/userinfo", ConnectionRefusedError()), 502, "provider-error"),
    "keys are down": (answer("/keys", HTTPClientError(503)), 502, "provider-error"),
    "keys are junk": (answer("/keys", {"keys": [{"kty": "nonsense"}]}), 502, "provider-error"),
    "provider is down": (answer(WELL_KNOWN, ConnectionRefusedError()), 502, "provider-error"),
    "provider is another": (answer(WELL_KNOWN, DISCOVERY | {"issuer": "x"}), 502, "provider-error"),
    "plain http endpoint": (
        answer(WELL_KNOWN, DISCOVERY | PLAIN), 502, "provider-error",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_said_and_recorded(case):
    change, status, code = WRONG[case]
    world = World()
    change(world)
    error = world.refused()
    assert (error.status_code, world.last_reason()) == (status, code)
    assert len(error.get_message()) > 40, "says what to do"
    assert world.projects.held == {}
    assert world.audit.events().count("sign-in") == 1


@pytest.mark.parametrize(
    "change",
    [sign(EC_KEY, "ES256", kid="ec"), sign(RSA_KEY, "PS512", kid="rsa"), claim(aud=[CLIENT]), claim(amr=["hwk"])],
    ids=["ES256", "PS512", "audience in a list", "security key"],
)
def test_other_good_forms(change):
    world = World()
    change(world)
    assert asyncio.run(world.sign_in())["groups"] == ["rr-project-chest-ct"]


def test_which_factors_count_is_a_setting():
    world = World(required_amr=("fido",))
    assert world.refused().status_code == 403
    world.claims["amr"] = ["fido"]
    asyncio.run(world.sign_in())


def test_groups_may_come_from_the_id_token_alone():
    world = World()
    del world.userinfo["groups"]
    world.claims["groups"] = ["rr-project-brain-mr"]
    assert asyncio.run(world.sign_in())["groups"] == ["rr-project-brain-mr"]


def test_a_new_signing_key_is_looked_up_but_not_for_every_bad_token():
    world = World()
    asyncio.run(world.sign_in())
    world.key, world.headers = OTHER_KEY, {"kid": "new"}
    world.answers[ISSUER + "/keys"] = {"keys": [jwk(OTHER_KEY, "new", jwt.algorithms.RSAAlgorithm)]}
    assert world.refused().status_code == 403
    assert world.asked.count(ISSUER + "/keys") == 1, "asked less than half a minute ago"
    world.authenticator._keys_at -= 60
    asyncio.run(world.sign_in())


@pytest.mark.parametrize(
    "change", [lambda _: None, claim(amr=["pwd"]), claim(aud="other")], ids=["good", "one factor", "forged"]
)
def test_without_the_audit_record_nobody_signs_in(change):
    world = World()
    change(world)
    world.audit.available = False
    error = world.refused()
    assert error.status_code == 503
    assert "Sign-in is not possible while the audit record is unavailable" in error.get_message()
    assert world.projects.held == {}


class User:
    """What the authenticator sees of a hub user."""

    def __init__(self, model) -> None:
        self.name = model["name"]
        self.orm_user = SimpleNamespace(user_info=model["user_info"])
        self.groups = [SimpleNamespace(name=g) for g in model["groups"]]
        self.state = model["auth_state"]

    async def get_auth_state(self):
        return self.state


def signed_in(world: World) -> User:
    return User(asyncio.run(world.sign_in()))


def test_a_refresh_takes_away_what_the_provider_took_away():
    world = World()
    user = signed_in(world)
    world.userinfo["groups"] = ["rr-project-brain-mr"]
    model = asyncio.run(world.authenticator.refresh_user(user))
    assert model["groups"] == ["rr-project-brain-mr"]
    assert [m.project for m in world.projects.of_person(user.orm_user.user_info["person"])] == ["brain-mr"]
    world.userinfo["groups"] = []
    assert asyncio.run(world.authenticator.refresh_user(user)) is False
    assert world.projects.held == {}


REFRESH_FAILS = {
    "provider is down": answer("/userinfo", ConnectionRefusedError()),
    "another person": info(sub="s2"),
    "signed out there": lambda w: w.answers.update(
        {ISSUER + "/userinfo": HTTPClientError(401), ISSUER + "/token": HTTPClientError(400)}
    ),
    "too many groups": info(groups=None, _claim_names={"groups": "src1"}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFRESH_FAILS)
def test_a_refresh_that_fails_means_to_sign_in_again(case):
    world = World()
    user = signed_in(world)
    REFRESH_FAILS[case](world)
    assert asyncio.run(world.authenticator.refresh_user(user)) is False


def test_a_refresh_without_the_audit_record_lets_nobody_on():
    world = World()
    user = signed_in(world)
    world.userinfo["groups"] = ["rr-project-brain-mr"]
    world.audit.available = False
    with pytest.raises(web.HTTPError) as caught:
        asyncio.run(world.authenticator.refresh_user(user))
    assert caught.value.status_code == 503


def test_many_requests_use_a_refresh_token_once():
    world = World()
    user = signed_in(world)
    del world.userinfo["groups"]
    world.claims["groups"] = ["rr-project-chest-ct"]
    before = world.asked.count(ISSUER + "/token")

    async def many():
        return await asyncio.gather(*(world.authenticator.refresh_user(user) for _ in range(10)))

    models = asyncio.run(many())
    assert [m["groups"] for m in models] == [["rr-project-chest-ct"]] * 10
    assert world.asked.count(ISSUER + "/token") - before == 1


@pytest.mark.parametrize("server", ["", "brain-mr", "Not A Project"])
def test_a_server_belongs_to_a_project_of_the_person(server):
    world = World()
    user = signed_in(world)
    with pytest.raises(web.HTTPError) as caught:
        asyncio.run(world.authenticator.pre_spawn_start(user, SimpleNamespace(name=server)))
    assert caught.value.status_code == 403
    record = world.audit.records[-1]
    assert (record["event"], record["outcome"]) == ("request-refused", "denied")
    assert record.get("project") == ("brain-mr" if server == "brain-mr" else None)


def test_a_server_of_an_own_project_starts():
    world = World()
    user = signed_in(world)
    asyncio.run(world.authenticator.pre_spawn_start(user, SimpleNamespace(name="chest-ct")))
    assert "request-refused" not in world.audit.events()
