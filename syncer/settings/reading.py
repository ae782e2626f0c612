"""Read raw values as the dataclasses that describe them, and gather all that is wrong on the way.

A table's annotations say how: `Annotated[int, whole(1)]` names the reader of one value, `tuple[…, ...]` is a list,
`… | None` may be none, and a dataclass is a table within. Words for people are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that has no default was not given."""

    path: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value was given that the table has not."""

    path: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """A value is not what its reader wants; the value itself may be a secret in the wrong place."""

    path: str
    want: str
    value: object


Complaint = Missing | Unknown | Unfit


def read(table: type[T], raw: object) -> tuple[T | None, list[Complaint]]:
    """Read a whole table; None where there are complaints, which are all that there are, in the order of the table."""
    complaints: list[Complaint] = []
    found = _table(table, raw, "", complaints)
    return (None if complaints else found), complaints


def _table(table: type[T], raw: object, path: str, complaints: list[Complaint]) -> T | None:
    if not isinstance(raw, dict):
        complaints.append(Unfit(path, "want a table", raw))
        return None
    before = len(complaints)
    values: dict[str, Any] = {}
    hints = _hints(table)
    prefix = f"{path}." if path else ""
    for option in fields(table):
        if option.name in raw:
            values[option.name] = _value(hints[option.name], raw[option.name], prefix + option.name, complaints)
        elif option.default is MISSING and option.default_factory is MISSING:
            complaints.append(Missing(prefix + option.name))
    complaints += [Unknown(prefix + str(name)) for name in raw if name not in hints]
    return table(**values) if len(complaints) == before else None


def _value(hint: Any, raw: object, path: str, complaints: list[Complaint]) -> object:
    if isinstance(hint, type) and is_dataclass(hint):
        return _table(hint, raw, path, complaints)
    inner, *others = get_args(hint)
    if get_origin(hint) is Annotated:
        return _read(others[0], raw, path, complaints)
    if get_origin(hint) is not tuple:  # or none
        return None if raw is None else _value(inner, raw, path, complaints)
    if not isinstance(raw, list | tuple):
        complaints.append(Unfit(path, "want a list", raw))
        return ()
    return tuple(_value(inner, item, f"{path}[{index}]", complaints) for index, item in enumerate(raw))


def _read(reader: Callable[[object], object], raw: object, path: str, complaints: list[Complaint]) -> object:
    try:
        return reader(raw)
    except ValueError as error:
        complaints.append(Unfit(path, str(error), raw))
        return None


@cache
def _hints(table: type[DataclassInstance]) -> dict[str, Any]:
    return get_type_hints(table, include_extras=True)
