"""Key custody in a PKCS#11 token, on SoftHSM 2: a real module, in software."""

import itertools
import subprocess
import warnings
from pathlib import Path

import pkcs11
import pytest
from tests.contract.key_custody import KeyCustodyContract

from readingroom_hub import compose
from readingroom_hub.adapters.keys_pkcs11 import Pkcs11KeyCustody
from readingroom_hub.config import Settings
from readingroom_hub.errors import KeyUnavailable
from readingroom_hub.model.ids import KeyId

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
pytestmark = pytest.mark.skipif(not MODULE.exists(), reason="SoftHSM 2 is not installed (Debian package softhsm2)")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """SoftHSM's folder; it reads its settings once in a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    (folder / "pin").write_text("2468\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        yield folder


@pytest.fixture
def token(tokens):
    label = f"room-{next(_numbers)}"
    options = ["--init-token", "--free", "--label", label, "--pin", "2468", "--so-pin", "1357"]
    subprocess.run(["softhsm2-util", *options], check=True, capture_output=True)
    pkcs11.lib(str(MODULE)).reinitialize()  # the module looks for tokens when it starts
    return label


@pytest.fixture
def custody(tokens, token, tmp_path):
    return Pkcs11KeyCustody(MODULE, token, tokens / "pin", tmp_path)


class TestPkcs11KeyCustody(KeyCustodyContract):
    @pytest.fixture
    def custody(self, tokens, token, tmp_path):
        return Pkcs11KeyCustody(MODULE, token, tokens / "pin", tmp_path)

    @pytest.fixture
    def reopened(self, custody, tokens, token, tmp_path):
        return Pkcs11KeyCustody(MODULE, token, tokens / "pin", tmp_path)


def test_no_key_can_be_taken_out(custody, token):
    custody.wrap(KeyId.new(), bytes(32))
    with pkcs11.lib(str(MODULE)).get_token(token_label=token).open(user_pin="2468") as session:
        keys = list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}))
        assert len(keys) == 2
        for key in keys:
            assert not key[pkcs11.Attribute.EXTRACTABLE]
            with pytest.raises(pkcs11.exceptions.AttributeSensitive):
                key[pkcs11.Attribute.VALUE]


def test_the_settings_choose_it_and_nothing_warns(tokens, token, tmp_path):
    settings = Settings(state=tmp_path, pkcs11_module_file=MODULE, pkcs11_token=token, pkcs11_pin_file=tokens / "pin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compose.custody(settings).current_kek().startswith("readingroom-kek-")
    assert not (tmp_path / "keys" / "custody.json").exists()


@pytest.mark.parametrize("broken", ["pin", "token", "module", "no pin"])
def test_what_is_wrong_with_the_token_is_said(tokens, token, tmp_path, broken):
    (tmp_path / "pin").write_text("0000" if broken == "pin" else "2468")
    pin = tmp_path / ("nothing" if broken == "no pin" else "pin")
    module = tmp_path / "no.so" if broken == "module" else MODULE
    custody = Pkcs11KeyCustody(module, "another" if broken == "token" else token, pin, tmp_path)
    with pytest.raises(KeyUnavailable, match=r"does not do its work|cannot be read"):
        custody.current_kek()
