"""The parameters that should be alike on all members, as members compare them.

A value is the text that a file has for it, since equal texts are equal values in every release. Of
the path of a file only that there is one: where it lies is the matter of its machine, and what is
in it may be secret.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from kvgossip.config.config import Config, wan_config
from kvgossip.config.description import PARAMETERS, Parameter
from kvgossip.config.sample import written

OF_WAN = "wan_parameters."
"""What stands before the name of a parameter of the WAN pool."""
SET, NOT_SET = "set", "not set"


def alike_parameters(config: Config, *, everything: bool = False) -> dict[str, str]:
    """By name, of those that are in force: those of HTTP are where it is served, those of the WAN
    pool on a gateway. `everything`: of those too that are not in force, to compare others with."""
    return dict(_parameters(config, everything=everything))


def _parameters(config: Config, *, everything: bool) -> Iterator[tuple[str, str]]:
    serves = everything or config.http is not None or bool(config.http_also)
    for name, parameter in PARAMETERS.items():
        # a worker that does not come back is forgotten by another rule
        idle = name == "forget_after_s" and config.ephemeral
        if not (parameter.own or idle or (parameter.section == "HTTP" and not serves)):
            yield name, _text(parameter, getattr(config, name))
    if everything or config.gateway:
        # whatever address of HTTP the gossip of the WAN may meet
        wan = wan_config(dataclasses.replace(config, http=None, http_also=()))
        for name, parameter in PARAMETERS.items():
            if parameter.per_pool and not parameter.own:
                yield OF_WAN + name, _text(parameter, getattr(wan, name))


def _text(parameter: Parameter, value: Any) -> str:
    if parameter.is_path:
        return SET if value else NOT_SET
    return written(value)
