import json
import threading

import pytest
from tests.contract.key_custody import KeyCustodyContract

from readingroom_hub.adapters.keys_file import DevelopmentCustodyWarning, FileKeyCustody
from readingroom_hub.errors import IntegrityError, KeyUnavailable
from readingroom_hub.model.ids import KeyId

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")


class TestFileKeyCustody(KeyCustodyContract):
    @pytest.fixture
    def custody(self, tmp_path):
        return FileKeyCustody(tmp_path / "keys")

    @pytest.fixture
    def reopened(self, custody, tmp_path):
        custody.current_kek()
        return FileKeyCustody(tmp_path / "keys")


def test_it_warns_when_it_is_constructed(tmp_path):
    with pytest.warns(DevelopmentCustodyWarning, match="development only"):
        FileKeyCustody(tmp_path)


def test_the_file_is_the_owners_only_and_nothing_else_is_left(tmp_path):
    FileKeyCustody(tmp_path / "keys").current_kek()
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["custody.json"]
    assert (tmp_path / "keys/custody.json").stat().st_mode & 0o777 == 0o600


def test_two_first_uses_at_once_make_one_file(tmp_path):
    names = []
    threads = [
        threading.Thread(target=lambda: names.append(FileKeyCustody(tmp_path / "keys").current_kek())) for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(names) == 8
    assert len(set(names)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other/1"}'])
def test_a_damaged_file_is_named_and_not_replaced(tmp_path, text):
    path = tmp_path / "custody.json"
    path.write_text(text)
    with pytest.raises(KeyUnavailable, match=r"custody\.json"):
        FileKeyCustody(tmp_path).current_kek()
    assert path.read_text() == text


def test_a_rotated_kek_wraps_and_the_old_one_still_unwraps(tmp_path):
    custody = FileKeyCustody(tmp_path)
    old = custody.wrap(KeyId.new(), b"o" * 32)
    path = tmp_path / "custody.json"
    content = json.loads(path.read_text())
    content["keks"]["second"] = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    content["current"] = "second"
    path.write_text(json.dumps(content))
    new = custody.wrap(KeyId.new(), b"n" * 32)
    assert new.kek == "second"
    assert custody.unwrap(new) == b"n" * 32
    assert custody.unwrap(old) == b"o" * 32
    with pytest.raises(IntegrityError):
        custody.unwrap(type(old)(old.id, "second", old.wrapped))
