"""Files are written whole or not at all, and JSON lines say where they are wrong."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soo_jax.errors import SooError
from soo_jax.files import part_name, read_json_lines, text_field, write_atomically, write_json_lines

LINE = '{"a": "..."}'


def _parse(row):
    return text_field(row, "a")


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "deep" / "note.txt"
    write_atomically(target, "first, and longer")
    write_atomically(target, "zweitens ß")
    assert target.read_text(encoding="utf-8") == "zweitens ß"
    assert [entry.name for entry in target.parent.iterdir()] == ["note.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "results.json"
    write_atomically(target, "old")
    os.symlink("/dev/full", tmp_path / part_name("results.json"))
    with pytest.raises(SooError, match=r"results\.json: the disk is full") as caught:
        write_atomically(target, "new")
    assert "\n" not in str(caught.value)
    assert target.read_text() == "old"
    assert not os.path.lexists(tmp_path / part_name("results.json"))


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SooError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "inner.txt", "text")


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_what_is_written_as_json_lines_is_read_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    write_json_lines(path, [{"a": text} for text in texts])
    assert read_json_lines(path, _parse, LINE) == texts


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "x"}\r\n\r\n{"a": "y"}\r\n')
    assert read_json_lines(path, _parse, LINE) == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ('{"a": "x"}\n{"a": "y"', "line 2: not valid JSON"),
        ('{"a": "x"}\n\n["a"]', "line 3: holds a JSON array rather than an object"),
        ("null", "line 1: holds a JSON null rather than an object"),
        ('{"b": "x"}', 'line 1: the field "a" is missing'),
        ('{"a": 3}', 'line 1: the field "a" holds a JSON number rather than a string'),
        ('{"a": "x"}\n{"a": " "}', 'line 2: the field "a" is an empty string'),
        ('{"a": "x \\ud83d"}', "line 1: holds half a character (\\ud83d, a lone surrogate)"),
        ('{"a": "x", "more": [{"\\udc00": 1}]}', "line 1: holds half a character (\\udc00, a lone surrogate)"),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_with_an_example_of_a_good_one(tmp_path, content, complaint):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(SooError) as caught:
        read_json_lines(path, _parse, LINE)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert complaint in message and LINE in message and "\n" not in message


def test_missing_files_folders_and_other_encodings_are_named(tmp_path):
    with pytest.raises(SooError, match="no such file"):
        read_json_lines(tmp_path / "nowhere.jsonl", _parse, LINE)
    with pytest.raises(SooError, match="is a folder"):
        read_json_lines(tmp_path, _parse, LINE)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(json.dumps({"a": "ß"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(SooError, match="not UTF-8"):
        read_json_lines(latin, _parse, LINE)
