"""OpenID Connect beyond what oauthenticator checks: discovery, and ID token validation (Core 1.0 section 3.1.3.7)."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from readingroom_hub.services.signin import Claims, SignInRefused

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a public key only: `none` and the HMAC family would let a client secret forge a person."""

LEEWAY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Provider:
    """Where an identity provider's endpoints are (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    authorize_url: str
    token_url: str
    userinfo_url: str
    jwks_url: str

    @classmethod
    def from_discovery(cls, document: Mapping[str, Any], issuer: str) -> "Provider":
        """Read the discovery document of `issuer`. Raises SignInRefused where it is another's or incomplete."""
        if document.get("issuer") != issuer:
            raise provider_trouble(f"calls itself {document.get('issuer')!r}, but {issuer!r} is set up here")
        names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
        urls = [document.get(name) for name in names]
        for name, url in zip(names, urls, strict=True):
            if not isinstance(url, str) or not url.startswith("https://"):
                raise provider_trouble(f"gives no https address for {name}")
        return cls(issuer, *(str(url) for url in urls))


def provider_trouble(what: str) -> SignInRefused:
    """The identity provider did not answer as agreed; nothing that the person did."""
    return SignInRefused(
        "provider-error",
        f"Your institution's sign-in service {what}. Try again in a minute; if it stays so, tell "
        "whoever runs this service.",
    )


def nonce_for(state_cookie: str) -> str:
    """The nonce that goes with a state cookie: the hash of what only this browser holds (Core 1.0 section 15.5.2)."""
    digest = hashlib.sha256(b"readingroom nonce\0" + state_cookie.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "token-expired"),
    (jwt.InvalidAudienceError, "wrong-audience"),
    (jwt.InvalidIssuerError, "wrong-issuer"),
    (jwt.InvalidAlgorithmError, "wrong-algorithm"),
    (jwt.InvalidSignatureError, "bad-signature"),
    (jwt.MissingRequiredClaimError, "claim-missing"),
)


def key_id_of(token: str) -> str | None:
    """Which of the provider's keys signed. Raises SignInRefused for what is no signed token."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise untrusted("token-malformed") from error
    if header.get("alg") not in ALGORITHMS:
        raise untrusted("wrong-algorithm")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def key_of(kid: str | None, keys: jwt.PyJWKSet) -> Any:
    """The public key of that id; without an id, the only key. None where there is no such key."""
    matching = [key for key in keys.keys if kid is None or key.key_id == kid]
    return matching[0].key if len(matching) == 1 else None


def verify_id_token(token: str, key: Any, issuer: str, client_id: str, nonce: str | None) -> dict[str, Any]:
    """The claims of an ID token, every rule of Core 1.0 section 3.1.3.7 applied. Raises SignInRefused.

    `nonce` is None only at a refresh, where the provider need not repeat it (section 12.2)."""
    if key is None:
        raise untrusted("unknown-key")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        code = next((code for kind, code in _REASONS if isinstance(error, kind)), "token-malformed")
        raise untrusted(code) from error
    if nonce is not None and claims.get("nonce") != nonce:
        raise untrusted("wrong-nonce")
    audiences = claims["aud"]
    if isinstance(audiences, list) and len(audiences) > 1 and claims.get("azp") != client_id:
        raise untrusted("wrong-audience")
    return claims


def untrusted(code: str) -> SignInRefused:
    """The refusal of an answer that breaks a rule of the protocol; `code` names the rule."""
    return SignInRefused(
        code,
        f"The answer of your institution's sign-in service could not be trusted ({code}). Close this tab and sign in "
        "again from the start; if it happens again, tell whoever runs this service.",
    )


def claims_of(id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Claims:
    """Who signed in, from a verified ID token and the matching userinfo answer.

    Raises SignInRefused where the two are about different people (Core 1.0 section 5.3.2)."""
    if userinfo.get("sub") != id_token["sub"]:
        raise untrusted("wrong-subject")
    groups = groups_in(userinfo)
    if groups is None:
        groups = groups_in(id_token)
    name = str(userinfo.get("name") or userinfo.get("preferred_username") or id_token.get("name") or "unnamed")
    amr = id_token.get("amr")
    return Claims(
        issuer=str(id_token["iss"]),
        subject=str(id_token["sub"]),
        name=name[:200],
        groups=groups or frozenset(),
        amr=frozenset(a for a in amr if isinstance(a, str)) if isinstance(amr, list) else frozenset(),
    )


def groups_in(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """The group claim, or None where there is none.

    Raises SignInRefused where the provider left it out for length (Entra ID: more than 200 groups)."""
    groups = claims.get("groups")
    if isinstance(groups, list):
        return frozenset(g for g in groups if isinstance(g, str))
    if "groups" in (claims.get("_claim_names") or {}):
        raise SignInRefused(
            "too-many-groups",
            "You are in more groups than your institution can send. Whoever runs this service must have it send only "
            "the groups that are assigned to this application.",
        )
    return None
