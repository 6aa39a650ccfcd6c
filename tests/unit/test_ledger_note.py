"""Signed notes and checkpoints against the C2SP texts."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.note import Checkpoint, Signer, VKey, open_note, split_note

# The example of C2SP signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
STATE = Checkpoint("example.com/log", 7, bytes(range(32)))
SIGNERS = {
    0x01: Signer("example.com/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32)),
    0x04: Signer("witness.example/w", Ed25519PrivateKey.from_private_bytes(b"2" * 32), cosigner=True),
    0x06: Signer("witness.example/pq", MLDSA44PrivateKey.from_seed_bytes(b"3" * 32)),
}


def test_the_example_of_the_standard_verifies():
    body, good = open_note(NOTE, [VKey.parse(VKEY)])
    assert body == "This is an example message.\n"
    assert [str(v) for v in good] == [VKEY]


@pytest.mark.parametrize("type", SIGNERS)
def test_every_type_signs_and_verifies(type):
    signer = SIGNERS[type]
    assert signer.vkey.type == type
    vkey = VKey.parse(str(signer.vkey))
    note = STATE.body() + "\n" + signer.sign(STATE.body(), 1_700_000_000)
    body, good = open_note(note, [vkey])
    assert Checkpoint.parse(body) == STATE
    assert good == {vkey: None if type == 1 else 1_700_000_000}
    with pytest.raises(IntegrityError, match=r"does not fit"):
        open_note(note.replace("\n7\n", "\n8\n"), [vkey])


def test_several_signatures_on_one_note():
    note = STATE.body() + "\n" + "".join(s.sign(STATE.body(), 5) for s in SIGNERS.values())
    assert len(open_note(note, [s.vkey for s in SIGNERS.values()])[1]) == 3
    assert len(open_note(note, [SIGNERS[1].vkey])[1]) == 1


def test_an_unknown_signer_is_no_signer():
    with pytest.raises(IntegrityError, match="no key that is trusted"):
        open_note(NOTE, [SIGNERS[1].vkey])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text only\n",
        NOTE[:-1],
        NOTE.replace("— ", "- "),
        NOTE.replace("Uw2Q", "Uw2Q*"),
        NOTE.replace("message", "mess\x1bage"),
        NOTE.replace("aQM=", "aQN="),
    ],
)
def test_what_is_no_signed_note_is_refused(note):
    with pytest.raises(BadInput):
        split_note(note)


@pytest.mark.parametrize(
    "body",
    [
        "o\n07\n" + STATE.body().split("\n")[2] + "\n",
        "o\n-1\n" + STATE.body().split("\n")[2] + "\n",
        "o\n٣\n" + STATE.body().split("\n")[2] + "\n",
        "o\n7\nAAAA\n",
        "o\n7\n",
        STATE.body() + "extension\n",
        STATE.body()[:-1],
        "a b\n7\n" + STATE.body().split("\n")[2] + "\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(body):
    with pytest.raises(BadInput):
        Checkpoint.parse(body)


@pytest.mark.parametrize("text", ["", "a+b", VKEY.replace("530d", "530e"), VKEY[:-8], "x+00000000+CQ=="])
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(BadInput):
        VKey.parse(text)
