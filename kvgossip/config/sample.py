"""A sample of the configuration file: every parameter with its description and its default, as a
comment, so that the sample changes nothing until a line of it is used."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Literal, get_origin

from kvgossip.config.address import Address
from kvgossip.config.description import PARAMETERS, Parameter
from kvgossip.config.schema import plain

COLUMNS = 80
HEAD = """\
# The configuration of a kvgossip agent: kvgossip agent --config FILE
#
# Every line that sets something is a comment with the default, or with an
# example where there is none: take the "#" away, and change it. An option of
# the command line goes before the environment (KVGOSSIP_NAME for name), that
# before this file, that before the profile. `kvgossip config --config FILE`
# shows what comes of it, or the first mistake.

# Timing for a network of this kind: lan, wan or local.
#profile = "lan"

# The least that the log tells: debug, info, warning or error. It is read anew
# at SIGHUP.
#log_level = "info"

# The lines of the log: text for people, json for programs.
#log_format = "text"
"""


def config_sample() -> str:
    """The sample, in TOML. Prose begins with "# ", what can be set with "#"."""
    sections = (
        f"# -- {title} --\n\n" + "\n".join(_entry(parameter) for parameter in parameters)
        for title, parameters in groupby(PARAMETERS.values(), lambda parameter: parameter.section)
    )
    return "\n".join((HEAD, *sections))


def written(value: Any) -> str:
    """A value of Config as the file writes it; one that is not set is empty."""
    if isinstance(value, Mapping):
        items = ", ".join(f"{name} = {written(each)}" for name, each in value.items())
        return f"{{ {items} }}" if items else "{}"
    return "" if value is None else json.dumps(plain(value), ensure_ascii=False)


def _entry(parameter: Parameter) -> str:
    # what text and a switch take is said by the default
    has_bounds = parameter.low is not None or get_origin(parameter.type) is Literal
    takes = f" Takes {parameter.takes}." if has_bounds else ""
    prose = textwrap.fill(
        parameter.description + takes,
        COLUMNS,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{prose}\n#{parameter.name} = {_default(parameter)}\n"


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        # an agent serves HTTP by default; the others are examples
        host = "127.0.0.1" if parameter.name == "http" else "10.0.0.5"
        return written(Address(host, parameter.extra("port")))
    return written({} if parameter.name == "wan_parameters" else parameter.default)
