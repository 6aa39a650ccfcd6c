"""The demo's identity provider: a real one (Canaille), with people who have a password and a TOTP secret (RFC 6238)."""

import base64
import json
import secrets
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from readingroom_hub.config import Settings
from readingroom_hub.errors import SystemUnfit
from readingroom_hub.jhub.stored import write_private
from readingroom_hub.jhub.tls import server_tls

SERVER = Path(__file__).with_name("canaille_server.py")
TOTP_SECONDS = 30
_TYPING_SECONDS = 5

STORY = (
    ("rosa", "Rosa Rossi", ("rr-project-chest-ct",)),
    ("noah", "Noah Novak", ("rr-project-brain-mr",)),
    ("sam", "Sam Steward", ("rr-role-steward",)),
    ("sonja", "Sonja Steward", ("rr-role-steward",)),
    ("rita", "Rita Reviewer", ("rr-role-reviewer", "rr-project-chest-ct")),
)
"""User name, name, groups: a researcher in each project, two data stewards, since some things take two, a reviewer."""


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody who can sign in to the demo."""

    user_name: str
    name: str
    groups: tuple[str, ...]
    password: str
    totp_secret: str
    """As Canaille keeps it: its bytes are the key."""

    @classmethod
    def new(cls, user_name: str, name: str, groups: tuple[str, ...]) -> "DemoPerson":
        """With a fresh password and a fresh secret of 144 bits (RFC 4226 section 4, R6, asks for 128)."""
        return cls(user_name, name, groups, secrets.token_urlsafe(9), secrets.token_urlsafe(18))

    @property
    def totp_base32(self) -> str:
        """The secret as a person types it into an authenticator app."""
        return base64.b32encode(self.totp_secret.encode()).decode().rstrip("=")

    @property
    def otpauth_uri(self) -> str:
        """What an authenticator app reads from a QR code."""
        issuer = quote("Reading Room demo")
        return f"otpauth://totp/{issuer}:{self.user_name}?secret={self.totp_base32}&issuer={issuer}"

    def code(self, at: float | None = None) -> str:
        """The six digits that an authenticator app shows at Unix time `at`, now by default."""
        now = int(time.time() if at is None else at)
        # RFC 6238's default and what every authenticator app supports; SHA-1's weakness does not touch HMAC.
        totp = TOTP(self.totp_secret.encode(), 6, SHA1(), TOTP_SECONDS, enforce_key_length=False)  # noqa: S303
        return totp.generate(now).decode()

    def fresh_code(self) -> str:
        """A code with seconds left to type it in: the provider takes none of the period before. May wait for it."""
        left = TOTP_SECONDS - time.time() % TOTP_SECONDS
        if left < _TYPING_SECONDS:
            time.sleep(left + 0.1)
        return self.code()


class DemoProvider:
    """Canaille below the state folder, behind the edge's TLS at `issuer`."""

    client_id = "readingroom"

    def __init__(
        self, settings: Settings, venv: Path, public_port: int = 8444, factors: tuple[str, ...] = ("password", "otp")
    ) -> None:
        self._base = settings
        self._venv = venv.absolute()
        self._factors = factors
        self._folder = settings.state / "idp"
        self._people_file = settings.state / "demo" / "people.json"
        self.issuer = f"https://{urlsplit(settings.public_url).hostname}:{public_port}"

    @property
    def settings(self) -> Settings:
        """The settings of a hub that trusts this provider."""
        return replace(
            self._base,
            oidc_issuer=self.issuer,
            oidc_client_id=self.client_id,
            oidc_client_secret_file=self._folder / "client.secret",
            oidc_ca_file=server_tls(self._base).ca,
            demo_provider_port=self._base.internal_port + 3,
        )

    def ensure(self) -> list[DemoPerson]:
        """The people, drawn at first start and the same ever after; configuration and keys written where missing."""
        if not (self._venv / "bin" / "python").exists():
            raise SystemUnfit(f"the demo's identity provider is not installed in {self._venv}: run `make install`")
        for folder in (self._folder, self._people_file.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._people_file.exists():
            rows = [asdict(DemoPerson.new(*who)) for who in STORY]
            self._write(self._people_file, json.dumps({"people": rows}, indent=1))
        for name, draw in (("client.secret", _secret), ("cookie.secret", _secret), ("signing.pem", _signing_key)):
            if not (self._folder / name).exists():
                self._write(self._folder / name, draw())
        people = self.people()
        wanted = {
            "client_id": self.client_id,
            "client_secret": self._read("client.secret"),
            "public_url": self._base.public_url.rstrip("/"),
            "people": [asdict(p) for p in people],
        }
        self._write(self._folder / "wanted.json", json.dumps(wanted))
        self._write(self._folder / "canaille.toml", self._config())
        return people

    def people(self) -> list[DemoPerson]:
        """Who can sign in, with their secrets."""
        rows = json.loads(self._people_file.read_text())["people"]
        return [DemoPerson(**{**row, "groups": tuple(row["groups"])}) for row in rows]

    @property
    def command(self) -> list[str]:
        """What to run, after `ensure`."""
        port = str(self._base.internal_port + 3)
        return [str(self._venv / "bin" / "python"), str(SERVER), str(self._folder / "wanted.json"), port]

    @property
    def environ(self) -> dict[str, str]:
        """With this environment."""
        kept = {k: v for k, v in self._base.to_environ().items() if not k.startswith("READINGROOM_")}
        return kept | {"CANAILLE_CONFIG": str(self._folder / "canaille.toml")}

    def start(self) -> subprocess.Popen[bytes]:
        """Run it; its log goes to `logs/idp.log`. It ends with SIGTERM."""
        self._base.paths.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._base.paths.logs / "idp.log").open("ab") as log:
            return subprocess.Popen(
                self.command, env=self.environ, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def _config(self) -> str:
        """Canaille's configuration. JSON strings are TOML strings."""
        q = json.dumps
        return f"""SECRET_KEY = {q(self._read("cookie.secret"))}
SERVER_NAME = {q(urlsplit(self.issuer).netloc)}
PREFERRED_URL_SCHEME = "https"
SESSION_COOKIE_SECURE = true

[CANAILLE]
NAME = "Example University Hospital"
DATABASE = "sql"
JAVASCRIPT = false
HTMX = false
ENABLE_INTRUDER_LOCKOUT = true
ENABLE_REGISTRATION = false
CAPTCHA_ENABLED = false
AUTHENTICATION_FACTORS = {q(list(self._factors))}
OTP_METHOD = "TOTP"

[CANAILLE_SQL]
DATABASE_URI = {q("sqlite:///" + str((self._folder / "canaille.sqlite").absolute()))}

[CANAILLE_OIDC]
REQUIRE_NONCE = true
TRUSTED_DOMAINS = [{q(urlsplit(self._base.public_url).hostname)}]
ACTIVE_JWKS = [{q(self._read("signing.pem"))}]

[CANAILLE_HYPERCORN]
PROXY_MODE = "legacy"
PROXY_TRUSTED_HOPS = 1
"""

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text()

    @staticmethod
    def _write(path: Path, text: str) -> None:
        write_private(path, text.encode())


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _signing_key() -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
