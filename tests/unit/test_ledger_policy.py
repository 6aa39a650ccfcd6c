"""Policies: the form of C2SP tlog-policy, quorums, keys that are valid for a range of sizes."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy

LOG = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32)).vkey
W = [
    Signer(f"w/{i}", Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32), cosigner=True).vkey for i in range(2, 6)
] + [Signer("w/6", MLDSA44PrivateKey.from_seed_bytes(b"6" * 32)).vkey]
TEXT = f"""
# the example of the standard, in small
log {LOG} https://log.example/
 witness a {W[0]} https://a.example/
witness\tb {W[1]}
witness c {W[2]}
group abc 2 a b c
witness d {W[3]}
witness e {W[4]}
group de any d e
group both all abc de
quorum both
#readingroom freshness 86400
"""


@pytest.mark.parametrize(
    ("signed", "met"),
    [([0, 1, 3], True), ([0, 2, 4], True), ([0, 1], False), ([0, 3, 4], False), ([], False), ([0, 1, 2, 3, 4], True)],
)
def test_a_quorum_is_counted_through_its_groups(signed, met):
    policy = Policy.parse(TEXT)
    assert policy.is_met([W[i] for i in signed]) is met
    assert (policy.freshness, policy.urls) == (86400, {"a": "https://a.example/"})


def test_no_quorum_asks_for_nobody():
    assert Policy.parse(f"log {LOG}\nquorum none\n").is_met([])


def test_a_key_is_valid_for_its_sizes():
    name = f"{LOG.name}+{LOG.id.hex()}"
    policy = Policy.parse(f"log {LOG}\nquorum none\n#readingroom valid {name} 10 20\n")
    for size in (10, 20):
        policy.check_log_key(LOG, size)
    for size in (9, 21):
        with pytest.raises(BadInput, match="from 10 to 20"):
            policy.check_log_key(LOG, size)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum none\n",
        f"log {LOG}\n",
        f"log {LOG}\nquorum x\n",
        f"log {LOG}\nquorum none\nquorum none\n",
        f"log {LOG}\nlog {LOG}\nquorum none\n",
        f"log {LOG}\nwitness a {LOG}\nquorum none\n",
        f"log {LOG}\nwitness none {W[0]}\nquorum none\n",
        f"log {LOG}\nwitness a {W[0]}\nwitness a {W[1]}\nquorum a\n",
        f"log {LOG}\nwitness a {W[0]}\nwitness b {W[0]}\nquorum a\n",
        f"log {LOG}\nwitness a {W[0]}\ngroup g 2 a\nquorum g\n",
        f"log {LOG}\nwitness a {W[0]}\ngroup g 0 a\nquorum g\n",
        f"log {LOG}\nwitness a {W[0]}\ngroup g 1 a a\nquorum g\n",
        f"log {LOG}\nwitness a {W[0]}\ngroup g any a\ngroup h any a g\nquorum h\n",
        f"log {LOG}\ngroup g any a\nwitness a {W[0]}\nquorum g\n",
        f"log {LOG}\nquorum none\nvalid x\n",
        f"log {LOG}\nquorum none\n#readingroom freshnes 5\n",
        f"log {LOG}\nquorum none\n#readingroom valid nobody+00 0 -\n",
        f"log {LOG}\r\nquorum none\n",
        "log host+1+x\nquorum none\n",
    ],
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(BadInput, match="policy"):
        Policy.parse(text)
