"""The examples of the documentation run, and every public name has one."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

import tierce
from tierce import _errors

CLASSES = [
    member
    for member in (getattr(tierce, name) for name in tierce.__all__)
    if inspect.isclass(member) and not issubclass(member, BaseException)
]

METHODS = {
    f"{of.__name__}.{name}": getattr(of, name)
    for of in CLASSES
    for name, member in vars(of).items()
    if not name.startswith("_") and not inspect.isdatadescriptor(member)
}


def run(name: str, text: str) -> int:
    examples = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(text), {}, f"tierce.{name}", None, 0
    )
    report: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=report.append)
    assert result.failed == 0, "".join(report)
    return result.attempted


def test_the_examples_of_package_and_classes_run() -> None:
    assert run("tierce", tierce.__doc__ or "") > 0
    for of in CLASSES:
        assert run(of.__name__, of.__doc__ or "") > 0, f"{of.__name__} has no example"


def test_the_examples_of_the_page_run() -> None:
    page = Path(__file__).parents[2] / "docs" / "python.md"
    assert run("python.md", page.read_text()) > 20


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_example_of_each_method_runs(name: str) -> None:
    text = METHODS[name].__doc__
    assert text, f"{name} has no documentation"
    assert run(name, text) > 0, f"{name} has no example"


def test_every_public_name_is_documented_and_at_home() -> None:
    for name in tierce.__all__:
        member: Any = getattr(tierce, name)
        if inspect.isclass(member):
            assert member.__doc__
            assert member.__module__ == "tierce"


def test_every_exception_is_a_tierce_error() -> None:
    for name in _errors.__all__:
        assert issubclass(getattr(tierce, name), tierce.TierceError)


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert version("tierce") == tierce.__version__
