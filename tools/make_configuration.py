"""Writes docs/configuration.md, and the sample ops/kvgossip.toml, from the declarations of the
parameters.

Run it after a change of kvgossip/config/: `python -m tools.make_configuration`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from kvgossip.cli.settings import DEFAULT_HTTP, variable_of
from kvgossip.config import PARAMETERS, PROFILES, Address, Parameter, config_sample

ROOT = Path(__file__).parent.parent
PAGE, SAMPLE = ROOT / "docs" / "configuration.md", ROOT / "ops" / "kvgossip.toml"
COLUMNS = 100

_HEAD = f"""\
# Configuration

<!-- Made by `python -m tools.make_configuration` from kvgossip/config/parameters.py. -->

A node needs no configuration. Every parameter below may be set in five places, of which the earlier
goes before the later:

1. an option of `kvgossip agent`, which exists for those that differ from node to node;
2. an environment variable, which exists for every parameter;
3. the file of `--config`, in TOML, one parameter a line;
4. the profile, of `--profile` or of the file;
5. the default.

```toml
profile = "local"
name = "web-1"
join = ["10.0.0.5:7481", "10.0.0.6:7481"]
probe_interval_s = 2.0
wan_parameters = {{ probe_interval_s = 8.0, gossip_fanout = 5 }}
```

`kvgossip config`, with the options of an agent, shows each value and where it is from, and names
the first mistake. `--sample` prints a file with every parameter, which is `ops/kvgossip.toml`, and
`--schema` the JSON schema for editors. Programs that embed a node pass the same names to
`Config(...)`, or values as a file writes them to `config_from(values, profile)`. An agent serves
HTTP at {DEFAULT_HTTP} when nothing else is said, an embedded node does not.

A **profile** is a set of defaults for a network of a kind: `lan` is the default, `wan` is for links
between datacenters, `local` for nodes on one machine.

The **WAN pool** of a gateway has the values of the profile `wan`, whatever the profile of the node.
`wan_parameters` changes some of them, those that are marked below; all else is as in the LAN pool.

The last part of a name is its unit: `_s` is seconds, `_per_s` per second, `_bytes_max` bytes.
"""


def page() -> str:
    """The text of docs/configuration.md."""
    sections = (
        f"## {title}\n\n" + "\n".join(_entry(parameter) for parameter in parameters)
        for title, parameters in groupby(PARAMETERS.values(), lambda parameter: parameter.section)
    )
    return "\n".join((_HEAD, *sections))


def _entry(parameter: Parameter) -> str:
    lines = "\n".join(_wrapped(f"- {line}", "  ") for line in _facts(parameter))
    return f"### `{parameter.name}`\n\n{_wrapped(parameter.description)}\n\n{lines}\n"


def _facts(parameter: Parameter) -> Iterator[str]:
    yield f"Takes {parameter.takes}."
    differing = [
        f"{_written(values[parameter.name])} in the profile `{profile}`"
        for profile, values in PROFILES.items()
        if parameter.name in values
    ]
    yield f"Default: {', '.join((_written(parameter.default), *differing))}."
    yield f"Variable: `{variable_of(parameter.name)}`."
    if parameter.per_pool:
        yield "The WAN pool may have its own value."


def _written(value: Any) -> str:
    """A default as it stands in the file."""
    if value in ("", (), None):
        return "none"
    text = str(value) if isinstance(value, Address) else value
    return f"`{json.dumps(text)}`"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    SAMPLE.write_text(config_sample(), encoding="utf-8")


if __name__ == "__main__":
    main()
