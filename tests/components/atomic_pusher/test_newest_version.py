from components.atomic_pusher.executor import publish_unless_newest


def export(folder, fingerprint):
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"model")
    (folder / "fingerprint.pb").write_bytes(fingerprint)
    return str(folder)


def test_a_model_that_is_no_longer_the_newest_is_published_once(tmp_path):
    base = str(tmp_path / "serving")
    first, second = export(tmp_path / "a", b"a"), export(tmp_path / "b", b"b")
    assert publish_unless_newest(first, base) == publish_unless_newest(first, base)
    publish_unless_newest(second, base)
    again = publish_unless_newest(first, base)
    assert publish_unless_newest(first, base) == again
    versions = sorted((tmp_path / "serving").iterdir(), key=lambda path: int(path.name))
    assert [(path / "fingerprint.pb").read_bytes() for path in versions] == [b"a", b"b", b"a"]
    assert versions[-1].name == again
