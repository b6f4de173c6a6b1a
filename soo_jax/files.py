"""Text on disk: writes that happen whole or not at all, and JSON lines that say where they are wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from soo_jax.errors import SooError, StorageError

T = TypeVar("T")


def part_name(name: str) -> str:
    """The name under which ``name`` is written before it is renamed into place."""
    return f".{name}.part"


def disk_error(path: Path, error: Exception) -> StorageError:
    """What to tell the user when ``path`` cannot be written (disk full, no permission, read-only, ...)."""
    number = _refused(error)
    if number in _FULL:
        return StorageError(f"{path}: the disk is full; free some space or choose a folder on another disk")
    if number == errno.EFBIG:
        return StorageError(f"{path}: a file would be larger than is allowed here; raise the limit (ulimit -f)")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{path}: no permission to write here; choose a folder that you may write to")
    reason = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
    return StorageError(f"{path}: cannot be written ({reason}); choose another place")


def is_disk_error(error: BaseException) -> bool:
    """Whether the operating system has refused a write."""
    return isinstance(error, OSError) or _refused(error) is not None


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _refused(error: BaseException | None) -> int | None:
    """The operating system's number of a refusal, from the error or from one that caused it.

    Libraries that write in another language (safetensors, Orbax) raise exceptions of their own, which carry the
    operating system's words but not its number.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        for number in (*_FULL, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS):
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Put ``content`` at ``path`` so that a reader sees the old file or the new one, never half of it.

    Text is written as UTF-8. Missing parent folders are made.

    Raises:
      SooError: disk full, no permission, or anything else the file system objects to; the old file stays.
    """
    path = Path(path)
    part = path.with_name(part_name(path.name))
    raw = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise disk_error(path, error) from error
    except BaseException:  # Ctrl-C between write and rename leaves nothing behind either
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def moved_into(folder: Path, claim: Callable[[list[Path]], None]) -> Iterator[Path]:
    """A folder to write into, beside; its files then move to their places in ``folder``, each whole.

    Args:
      claim: called with the places (relative to ``folder``) before there is anything in them.
    """
    part = folder.with_name(part_name(folder.name))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        files = sorted(path.relative_to(part) for path in part.rglob("*") if path.is_file())
        claim(files)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(part / file, folder / file)
    except OSError as error:
        raise disk_error(folder, error) from error
    except StorageError as error:  # of what wrote into it, which knows no other place
        raise StorageError(str(error).replace(str(part), str(folder))) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def append_whole(path: Path, text: str, sync: bool = True) -> None:
    """Add text to a file, on the disk when this returns; all of it gets in, or nothing.

    Args:
      sync: False leaves it to the system when it gets to the disk: a loss of power may cost it, a kill does not.

    Raises:
      StorageError: as ``write_atomically`` does.
    """
    try:
        with open(path, "ab") as file:
            before = file.tell()
            try:
                file.write(text.encode("utf-8"))
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    os.truncate(path, before)
                raise
    except OSError as error:
        raise disk_error(path, error) from error


def cut_torn_line(path: Path) -> list[bytes]:
    """Drop the half line that a kill left at the end of a file of lines, so that the next line is not glued to it.

    Returns:
      The lines that are left, with their ends; none where there is no file.
    """
    try:
        with open(path, "rb+") as file:
            *lines, _ = file.read().split(b"\n")
            file.truncate(sum(len(line) + 1 for line in lines))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(path, error) from error
    return [line + b"\n" for line in lines]


def write_json_lines(path: str | Path, rows: Iterable[dict]) -> None:
    """Write one JSON object per line, atomically. Raises SooError as ``write_atomically`` does."""
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json_lines(path: str | Path, parse: Callable[[dict], T], expected: str) -> list[T]:
    """Read a file of JSON objects, one per line; blank lines are skipped.

    Args:
      path: the file.
      parse: makes a record of one object; a ``ValueError`` from it is reported with file and line number.
      expected: one example line, shown in messages as what would be right.

    Raises:
      SooError: no such file, not UTF-8, no lines, a line that is not a JSON object, or one that ``parse`` refuses.
    """
    path = Path(path)
    records = []
    for number, line in enumerate(_read_text(path, expected).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"holds a JSON {_json_name(row)} rather than an object")
            _check_characters(row)
            records.append(parse(row))
        except json.JSONDecodeError as error:
            raise SooError(
                f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno}); "
                f"each line must be one object like {expected}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise SooError(f"{path}, line {number}: {error}; each line must be like {expected}") from error
    if not records:
        raise SooError(f"{path}: the file is empty; it needs at least one line like {expected}")
    return records


def _check_characters(value: Any) -> None:
    """Raises ValueError for half a character (a lone surrogate), which JSON can write and no text can hold."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = f"\\u{ord(value[error.start]):04x}"
            raise ValueError(f"holds half a character ({code}, a lone surrogate); write the character whole") from error
    elif isinstance(value, dict | list):
        for one in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            _check_characters(one)


def read_json(path: str | Path, cure: str = "copy the file again") -> dict[str, Any]:
    """Read one JSON object.

    Args:
      cure: what the user is told where there is no such file.

    Raises:
      SooError: no such file, not UTF-8, no JSON, or another value than an object.
    """
    path = Path(path)
    if not path.is_file():
        raise SooError(f"{path}: no such file; {cure}")
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SooError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise SooError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def text_field(row: dict, name: str, default: str | None = None) -> str:
    """The non-empty string ``row[name]``, or ``default`` where one is given and the field is left out.

    Raises:
      ValueError: the field is missing, not a string, or blank; with a default, blank is allowed.
    """
    if name not in row:
        if default is not None:
            return default
        raise ValueError(f'the field "{name}" is missing')
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f'the field "{name}" holds a JSON {_json_name(value)} rather than a string')
    if default is None and not value.strip():
        raise ValueError(f'the field "{name}" is an empty string')
    return value


def _read_text(path: Path, expected: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SooError(f"{path}: no such file; give a file of JSON lines like {expected}") from error
    except IsADirectoryError as error:
        raise SooError(f"{path}: is a folder; give a file of JSON lines like {expected}") from error
    except UnicodeDecodeError as error:
        raise SooError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8 JSON lines") from error
    except OSError as error:
        raise SooError(f"{path}: cannot be read ({error.strerror or error})") from error


def _json_name(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
