"""Columns from type hints."""

import dataclasses
import datetime
import inspect
import types
import typing
import uuid
from collections import abc

from dflow import arrow
from dflow.operator import Failure

PLAIN = {
    str: "u", bytes: "z", bool: "b", int: "l", float: "g", datetime.date: "tdD", datetime.datetime: "tsu:UTC", datetime.time: "ttu",
    datetime.timedelta: "tDu", uuid.UUID: "w:16", type(None): "n",
}
MANY = (abc.Iterator, abc.Iterable, abc.Generator)
WRITTEN = "say them in the pipeline: `returns = { name = \"utf8\" }`"


def without_none(hint):
    """A hint without `None`, and whether that was in it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(hint) if each is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False


def members(hint):
    """The names and hints of a record's members; None of what is no record."""
    if not isinstance(hint, type):
        return None
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return {each.name: hints[each.name] for each in dataclasses.fields(hint)}
    if typing.is_typeddict(hint) or (issubclass(hint, tuple) and hasattr(hint, "_fields")):
        return typing.get_type_hints(hint)
    return None


def field(name, hint):
    """The column of a hint."""
    hint, nullable = without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return dataclasses.replace(field(name, arguments[0]), nullable=nullable or field(name, arguments[0]).nullable)
    if origin is typing.Literal and all(isinstance(each, str) for each in arguments):
        return arrow.Field(name, "u", nullable)
    if isinstance(hint, abc.Hashable) and hint in PLAIN:
        return arrow.Field(name, PLAIN[hint], nullable or hint is type(None))
    if origin in (list, abc.Sequence) and arguments:
        return arrow.list_of(name, dataclasses.replace(field("item", arguments[0]), nullable=True), nullable)
    inside = members(hint)
    if inside:
        return arrow.Field(name, "+s", nullable, tuple(field(each, of) for each, of in inside.items()))
    shown = getattr(hint, "__name__", None) or str(hint)
    raise Failure("settings", f"it isn't known which type of column `{shown}` is (of `{name}`); {WRITTEN}")


def returned(function, name):
    """What a function's hint says it gives: shape, columns, whether they are a record's. None when it says nothing."""
    try:
        hint = typing.get_type_hints(function, include_extras=True).get("return", inspect.Signature.empty)
    except Exception as error:  # What is written as text is evaluated here.
        raise Failure("settings", f"the type hints of `{name}` can't be read: {error}") from None
    generates = inspect.isgeneratorfunction(function)
    if hint is inspect.Signature.empty:
        return ("expand" if generates else None), None, False
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    shape = "map"
    if origin in MANY or generates:
        if not arguments:
            return "expand", None, False
        hint, shape = arguments[0], "expand"
    hint, nullable = without_none(hint)
    inside = members(hint)
    if inside is not None:
        # Of a record, None is no row; of one value it is null.
        return ("filter" if nullable and shape == "map" else shape), [field(each, of) for each, of in inside.items()], True
    if hint in (dict, typing.Any):
        return shape, None, False
    return shape, [dataclasses.replace(field(name, hint), nullable=nullable or hint is type(None))], False
