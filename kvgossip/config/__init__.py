"""The configuration of a node. Every parameter is declared once, in `parameters`.

address       Address, its text, the ports
parameters    the declarations: type, bounds, default, how to choose
profiles      lan, wan, local
description   a declaration in words, and the error that refuses a value
conversion    from values as they are written to those that Config holds
config        Config, with the checks that need several parameters
unix_socket   the text of a unix socket among the addresses of HTTP
exposure      what of a node is open to whoever reaches it
alike         the parameters that should be alike on all members
schema        the JSON schema of the file
sample        a commented sample of the file
"""

from kvgossip.config.address import (
    ANYWHERE,
    GOSSIP_PORT,
    HTTP_PORT,
    WAN_ANYWHERE,
    WAN_PORT,
    Address,
    parse_address,
)
from kvgossip.config.alike import NOT_SET, OF_WAN, SET, alike_parameters
from kvgossip.config.config import (
    DATAGRAM_BYTES_MIN_SEALED,
    Config,
    check_no_key,
    check_target,
    config_from,
    wan_config,
)
from kvgossip.config.description import PARAMETERS, WAN_PARAMETERS, Parameter
from kvgossip.config.parameters import KEY_BYTES, KEY_PATTERN, NAME_PATTERN
from kvgossip.config.profiles import PROFILES
from kvgossip.config.sample import config_sample, written
from kvgossip.config.schema import config_schema, plain

__all__ = [
    "ANYWHERE",
    "DATAGRAM_BYTES_MIN_SEALED",
    "GOSSIP_PORT",
    "HTTP_PORT",
    "KEY_BYTES",
    "KEY_PATTERN",
    "NAME_PATTERN",
    "NOT_SET",
    "OF_WAN",
    "PARAMETERS",
    "PROFILES",
    "SET",
    "WAN_ANYWHERE",
    "WAN_PARAMETERS",
    "WAN_PORT",
    "Address",
    "Config",
    "Parameter",
    "alike_parameters",
    "check_no_key",
    "check_target",
    "config_from",
    "config_sample",
    "config_schema",
    "parse_address",
    "plain",
    "wan_config",
    "written",
]
