"""Building what the config inside a file names, where the file may come from anybody.

A recipe is chosen by the user and may name any class. A checkpoint is downloaded: importing a module that it names, or
building a class of it, would run whatever is there. So only classes of TRUSTED modules are built, and of those that the
user names in the environment variable WINGMARK_TRUST, separated by commas.
"""

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

TRUSTED = ("wingmark", "torch.nn", "torch.optim")
MOST_VALUES = 100_000
PLAIN = (str, int, float, bool, NoneType, list, tuple, dict)


def is_trusted(module: str) -> bool:
    """Whether code of that module may run for a file: it is below one of TRUSTED, or of those that the user named."""
    own = os.environ.get("WINGMARK_TRUST", "").split(",")
    roots = [*TRUSTED, *(name.strip() for name in own if name.strip())]
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def refuse_endless(content: Any) -> None:
    """ValueError where lists and names within each other have more than MOST_VALUES in all.

    In a small file one list may stand in another a thousand times, and that in a third one: whoever walks through it,
    or tells of it, would not come to an end.
    """
    count, left = 0, [content]
    while left:
        value = left.pop()
        inside = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        count += len(inside)
        if count > MOST_VALUES:
            raise ValueError(f"it tells of its model in more than {MOST_VALUES:,} values")
        left += inside


def build_arguments(cls: type, settings: dict[str, Any], place: str) -> dict[str, Any]:
    """Arguments for a class, made of settings as the command line writes them down, with class_path and init_args.

    Whatever names a class must stand where the parameter asks for one, and is built, or made a factory where it asks
    for that. Everything else is passed on as it is: no string is looked up. `place` is told in errors.

    Raises ValueError for a class that is not trusted, before it is imported, and for one that is none or does not fit.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"{place} must hold names and values, got {settings!r:.80}")
    hints = _parameters(cls)
    return {name: _build(value, hints.get(name), f"{place}.{name}") for name, value in settings.items()}


def _build(value: Any, hint: Any, place: str) -> Any:
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, dict) and "class_path" in value:
        return _build_class(value, members, place)
    if isinstance(value, dict):
        return {name: _build(item, None, f"{place}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        inside = next((get_args(member)[0] for member in members if get_args(member)), None)
        items = [_build(item, inside, f"{place}.{number}") for number, item in enumerate(value)]
        return tuple(items) if tuple in map(get_origin, members) else items
    return value


def _build_class(spec: dict[str, Any], members: tuple[Any, ...], place: str) -> Any:
    asked = next((found for member in members if (found := _asked(member))), None)
    if asked is None:
        raise ValueError(f"{place} names the class {spec['class_path']!r:.80}, but nothing there is made of a class")
    base, factory = asked
    cls = _class(spec["class_path"], base, place)
    if unknown := spec.keys() - {"class_path", "init_args", "dict_kwargs"}:
        raise ValueError(f"{place} has the unknown keys {sorted(map(str, unknown))[:3]} beside class_path")
    settings = [spec.get(key) or {} for key in ("init_args", "dict_kwargs")]
    arguments = {name: value for part in settings for name, value in build_arguments(cls, part, place).items()}
    return partial(cls, **arguments) if factory else cls(**arguments)


def _class(path: Any, base: type, place: str) -> type:
    """The class of that path; it is imported only if its module is trusted."""
    if not isinstance(path, str) or "." not in path:
        raise ValueError(f"{place} must name a class by module and name, got {path!r:.80}")
    module, _, name = path.rpartition(".")
    if not is_trusted(module):
        raise ValueError(
            f"{place} names the class {path!r:.80}, whose code would run: its module is none of {', '.join(TRUSTED)}; "
            f"if you trust it, set the environment variable WINGMARK_TRUST={module.partition('.')[0]:.40}"
        )
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{place} names the class {path!r:.80}, which is not there ({error})") from error
    # A trusted module also holds what it imports from others.
    if not (inspect.isclass(cls) and is_trusted(cls.__module__) and issubclass(cls, base)):
        raise ValueError(f"{place} must name a {base.__name__}, got {path!r:.80}")
    return cls


def _asked(hint: Any) -> tuple[type, bool] | None:
    """The class that a parameter asks for, and whether for a factory of it; None where for none."""
    made = None
    if get_origin(hint) is Callable:
        made = get_args(hint)[-1]
    elif getattr(hint, "_is_protocol", False):
        made = get_type_hints(hint.__call__).get("return")
    if inspect.isclass(made):
        return made, True
    return (hint, False) if inspect.isclass(hint) and get_origin(hint) is None and hint not in PLAIN else None


def _parameters(cls: type) -> dict[str, Any]:
    """The types of a class's parameters, also of those that it passes on to its bases as **options."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        with suppress(NameError):  # types that some modules of torch import only for type checkers
            hints |= get_type_hints(vars(base).get("__init__", object.__init__))
    return hints
