"""Every parameter once: what is taken, what is refused, and that a refusal is always one clear
ConfigError."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip import config as config_module
from kvgossip.config import (
    GOSSIP_PORT,
    PROFILES,
    WAN_PARAMETERS,
    Address,
    Config,
    config_from,
    parse_address,
    wan_config,
)
from kvgossip.errors import ConfigError

FIELDS = [field.name for field in dataclasses.fields(Config)]
BOUNDS = config_module._BOUNDS


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.5:7000", Address("10.0.0.5", 7000)),
        ("10.0.0.5", Address("10.0.0.5", 99)),
        ("node-1.example.org:1", Address("node-1.example.org", 1)),
        (":7000", Address("", 7000)),
        ("[::1]:7000", Address("::1", 7000)),
        ("[fe80::1%eth0]", Address("fe80::1%eth0", 99)),
        ("  host:0 \n", Address("host", 0)),
        ("host:65535", Address("host", 65535)),
    ],
)
def test_an_address_is_a_host_a_port_or_both(text: str, address: Address) -> None:
    assert parse_address(text, 99) == address
    assert parse_address(str(address), 5) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "::1",
        "host:",
        "host:x",
        "host:65536",
        "host:123456",
        "a b:1",
        "http://host:1",
        "user@host:1",
        "[::1",
        "h:1:2",
    ],
)
def test_text_that_is_no_address_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text, 99)
    assert "HOST:PORT" in caught.value.hint


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = parse_address(text, 99)
    except ConfigError:
        return
    assert 0 <= address.port <= 65535
    assert not set(address.host) & set(" /@")


# -- bounds --------------------------------------------------------------------------------------


def test_every_number_has_its_bound() -> None:
    numbers = {name for name in FIELDS if type(getattr(Config(), name)) in (int, float)}
    assert numbers == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_is_taken_within_its_bounds_and_refused_beyond(name: str) -> None:
    low, high = BOUNDS[name]
    fitting: dict[str, Any] = (
        {"probe_interval_s": 600}
        if name == "probe_timeout_s"
        else {"probe_timeout_s": 0.001}
        if name == "probe_interval_s"
        else {}
    )
    for value in (low, high if name != "probe_timeout_s" else 599):
        assert getattr(dataclasses.replace(Config(), **{**fitting, name: value}), name) == value
    for value in (
        low - 1,
        math.nextafter(low, -math.inf),
        math.nextafter(high, math.inf),
        math.inf,
        -math.inf,
        math.nan,
    ):
        with pytest.raises(ConfigError, match=f"{name} = .* out of bounds"):
            dataclasses.replace(Config(), **{**fitting, name: value})


def test_the_default_of_every_parameter_is_within_its_bounds() -> None:
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(Config(), name) <= high


def test_a_probe_that_times_out_after_its_interval_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"probe_timeout_s = 1\.0 is not below probe_interval_s = 1\.0"
    ):
        Config(probe_timeout_s=1.0, probe_interval_s=1.0)


@pytest.mark.parametrize("name", ["a", "A-1.b_c", "9", "x" * 128])
def test_a_name_is_letters_digits_and_a_few_marks(name: str) -> None:
    assert Config(name=name, cluster=name, datacenter=name).name == name


@pytest.mark.parametrize("name", [" ", "a b", "-a", "a-", ".", "é", "a\n", "x" * 129, "a/b"])
@pytest.mark.parametrize("field", ["name", "cluster", "datacenter"])
def test_a_name_that_could_be_mistaken_is_refused(field: str, name: str) -> None:
    changed: dict[str, Any] = {field: name}
    with pytest.raises(ConfigError, match=f"{field} = .* is not a name"):
        dataclasses.replace(Config(), **changed)


def test_only_the_nodes_own_name_may_be_left_out() -> None:
    assert Config(name="").name == ""
    with pytest.raises(ConfigError):
        Config(cluster="")
    with pytest.raises(ConfigError):
        Config(datacenter="")


def test_a_join_target_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        Config(join=("a:b:c",))


# -- profiles ------------------------------------------------------------------------------------

MEMBERLIST = {
    # lan, wan, local
    "probe_interval_s": (1.0, 5.0, 1.0),
    "probe_timeout_s": (0.5, 3.0, 0.2),
    "indirect_probes": (3, 3, 1),
    "suspicion_multiplier": (4.0, 6.0, 3.0),
    "suspicion_max_multiplier": (6.0, 6.0, 6.0),
    "retransmit_multiplier": (4, 4, 2),
    "gossip_interval_s": (0.2, 0.5, 0.1),
    "gossip_fanout": (3, 4, 3),
    "gossip_to_dead_s": (30.0, 60.0, 15.0),
    "push_pull_interval_s": (30.0, 60.0, 15.0),
    "awareness_max": (8, 8, 8),
    "datagram_bytes_max": (1400, 1400, 1400),
    "members_max": (8192, 8192, 8192),
    "forget_after_s": (72 * 3600.0, 72 * 3600.0, 72 * 3600.0),
}


def test_the_profiles_are_memberlists() -> None:
    profiles = [config_from({}, profile) for profile in ("lan", "wan", "local")]
    assert {
        name: tuple(getattr(config, name) for config in profiles) for name in MEMBERLIST
    } == MEMBERLIST


def test_the_default_is_the_lan_profile_and_others_change_only_what_they_name() -> None:
    assert config_from({}) == config_from({}, "lan") == Config()
    for profile, values in PROFILES.items():
        assert config_from({}, profile) == dataclasses.replace(Config(), **values)


def test_a_value_goes_before_the_profiles() -> None:
    assert config_from({"probe_interval_s": 7}, "wan").probe_interval_s == 7.0


def test_an_unknown_profile_or_parameter_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown profile 'moon'") as caught:
        config_from({}, "moon")
    assert caught.value.hint == "choose one of lan, wan, local"
    with pytest.raises(ConfigError, match="unknown parameter 'probe_intervall_s'") as caught:
        config_from({"probe_intervall_s": 1})
    assert "probe_interval_s" in caught.value.hint


# -- the WAN pool --------------------------------------------------------------------------------


def test_the_wan_pool_has_the_wan_profile_and_its_own_addresses_whatever_the_lan_pool_has() -> None:
    one = config_from(
        {"rumor_k": 2, "gateway": True, "wan": "10.0.0.1", "join": "a", "join_wan": "b"}, "local"
    )
    wan = wan_config(one)
    assert (wan.gossip, wan.join, wan.rumor_k) == (Address("10.0.0.1", 7483), ("b",), 2)
    assert all(getattr(wan, name) == value for name, value in PROFILES["wan"].items())


def test_single_parameters_of_the_wan_pool_can_be_set() -> None:
    one = config_from(
        {
            "gateway": True,
            "probe_interval_s": 1,
            "wan_parameters": {"probe_interval_s": "8", "rumor_feedback": "off"},
        }
    )
    assert (
        one.probe_interval_s,
        wan_config(one).probe_interval_s,
        wan_config(one).rumor_feedback,
    ) == (1.0, 8.0, False)
    assert wan_config(one).probe_timeout_s == PROFILES["wan"]["probe_timeout_s"]


def test_what_belongs_to_the_one_store_cannot_differ_between_the_pools() -> None:
    assert not {
        "digest_levels",
        "value_bytes_max",
        "clock_drift_max_s",
        "cluster",
        "datacenter",
    } & set(WAN_PARAMETERS)
    assert set(WAN_PARAMETERS) <= set(FIELDS)


def test_join_wan_without_gateway_is_refused_with_what_to_change() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(join_wan=("a:1",))
    assert "--gateway" in caught.value.hint


# -- values as text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("probe_interval_s", "2", 2.0),
        ("rumor_k", "5", 5),
        ("rumor_k", 5.0, 5),
        ("anti_entropy", "off", False),
        ("anti_entropy", "True", True),
        ("anti_entropy", 0, False),
        ("join", "a:1, b ,c:3,", ("a:1", "b", "c:3")),
        ("join", "a b\nc", ("a", "b", "c")),
        ("join", "", ()),
        ("join", ["a:1"], ("a:1",)),
        ("gossip", "0.0.0.0", Address("0.0.0.0", GOSSIP_PORT)),
        ("gossip", ":0", Address("", 0)),
        ("http", "127.0.0.1", Address("127.0.0.1", 7480)),
        ("advertise", None, None),
        ("name", "n1", "n1"),
        ("wan", "10.0.0.1", Address("10.0.0.1", 7483)),
        ("advertise_wan", "gateway.example", Address("gateway.example", 7483)),
        ("wan_parameters", {"probe_interval_s": 6.5}, (("probe_interval_s", 6.5),)),
        (
            "wan_parameters",
            "probe_interval_s = 6.5, rumor_k=2",
            (("probe_interval_s", "6.5"), ("rumor_k", "2")),
        ),
        ("wan_parameters", "", ()),
    ],
)
def test_a_value_may_be_text(name: str, value: Any, taken: Any) -> None:
    found = getattr(config_from({name: value}), name)
    assert found == taken
    assert type(found) is type(taken)


# F14
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probe_interval_s", "soon"),
        ("probe_interval_s", True),
        ("probe_interval_s", None),
        ("probe_interval_s", math.nan),
        ("rumor_k", 2.5),
        ("rumor_k", "2.5"),
        ("rumor_k", math.inf),
        ("rumor_k", [3]),
        ("anti_entropy", "perhaps"),
        ("anti_entropy", None),
        ("join", [1]),
        ("join", 5),
        ("join", {"a": 1}),
        ("join", "a:b:c"),
        ("gossip", 7481),
        ("gossip", "a b"),
        ("http", ["127.0.0.1"]),
        ("name", 5),
        ("name", None),
        ("cluster", "no good"),
        ("join_wan", ["a:1"]),
        ("wan_parameters", "probe_interval_s"),
        ("wan_parameters", {"probe_interval_s": 0}),
        ("wan_parameters", {"probe_interval_s": "soon"}),
        ("wan_parameters", {"digest_levels": 2}),
        ("wan_parameters", {"name": "x"}),
        ("wan_parameters", [1]),
        ("wan_parameters", 5),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        config_from({name: value})


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.text(max_size=4) | st.integers(), max_size=2)
)


@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    st.sampled_from([*PROFILES, "moon"]),
)
def test_any_values_of_a_toml_file_are_a_config_or_a_config_error(
    values: dict[str, Any], profile: str
) -> None:
    try:
        config = config_from(values, profile)
    except ConfigError:
        return
    assert all(low <= getattr(config, name) <= high for name, (low, high) in BOUNDS.items())
