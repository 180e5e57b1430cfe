"""`kvgossip` is what an embedding program imports: all names of it are there, and no error that it
may meet is anywhere else."""

from __future__ import annotations

import inspect

import pytest

import kvgossip
import kvgossip.errors


def test_every_error_that_a_program_may_meet_is_exported() -> None:
    errors = {
        name
        for name, kind in vars(kvgossip.errors).items()
        if inspect.isclass(kind) and issubclass(kind, kvgossip.errors.KVGossipError)
    }
    assert len(errors) > 20
    assert errors <= set(kvgossip.__all__)
    for name in errors:
        assert getattr(kvgossip, name) is getattr(kvgossip.errors, name)


@pytest.mark.parametrize("name", kvgossip.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(kvgossip, name) is not None
    assert name in dir(kvgossip)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nodes'"):
        getattr(kvgossip, "Nodes")  # noqa: B009
