"""Every parameter: the values that are taken, and one clear ConfigError for all others."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cli import app, main
from kvgossip.cli.settings import load_config, variable_of
from kvgossip.config import (
    GOSSIP_PORT,
    PARAMETERS,
    PROFILES,
    WAN_PARAMETERS,
    Address,
    Config,
    Parameter,
    config_from,
    config_schema,
    parse_address,
    wan_config,
)
from kvgossip.errors import ConfigError
from tools import make_configuration

FIELDS = [field.name for field in dataclasses.fields(Config)]
BOUNDS = {
    name: (parameter.low, parameter.high)
    for name, parameter in PARAMETERS.items()
    if parameter.low is not None and parameter.high is not None
}


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


SECONDS = "it takes a number of seconds from 0.01 to 600"
FITTING = {
    "probe_timeout_s": {"probe_interval_s": 600.0},
    "probe_interval_s": {"probe_timeout_s": 0.001},
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_is_taken_within_its_bounds_and_refused_beyond_with_both_of_them(
    name: str,
) -> None:
    low, high = BOUNDS[name]
    fitting: dict[str, Any] = FITTING.get(name, {})
    for value in (low, high if name != "probe_timeout_s" else 599):
        assert getattr(dataclasses.replace(Config(), **{**fitting, name: value}), name) == value
        assert getattr(config_from({**fitting, name: str(value)}), name) == value
    whole = PARAMETERS[name].type is int
    beyond: tuple[float, ...] = (low - 1, high + 1, -(10**400), 10**400)
    if not whole:
        beyond += (
            math.nextafter(low, -math.inf),
            math.nextafter(high, math.inf),
            math.inf,
            math.nan,
        )
    for value in beyond:
        with pytest.raises(ConfigError) as caught:
            dataclasses.replace(Config(), **{**fitting, name: value})
        assert f"{name} = {str(value)[:70]}" in str(caught.value)
        assert "is out of bounds: it takes a" in str(caught.value)
        assert str(caught.value).endswith(f" from {low} to {high}")
        assert caught.value.hint == PARAMETERS[name].description


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
    with pytest.raises(ConfigError) as caught:
        config_from({"probe_intervall_s": 1})
    assert (
        str(caught.value)
        == "unknown parameter 'probe_intervall_s': did you mean 'probe_interval_s'?"
    )
    assert caught.value.hint == "`kvgossip config --schema` prints what there is"
    with pytest.raises(ConfigError, match=r"unknown profile 'lokal': did you mean 'local'\?"):
        config_from({}, "lokal")
    with pytest.raises(ConfigError, match=r"^unknown parameter 'zzz'"):
        config_from({"zzz": 1})


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


@pytest.mark.parametrize(
    "written",
    [
        {"probe_interval_s": 8, "rumor_feedback": False},
        (("probe_interval_s", 8), ("rumor_feedback", False)),
        [["probe_interval_s", "8"], ["rumor_feedback", "off"]],
        " probe_interval_s = 8, rumor_feedback = off",
    ],
)
def test_parameters_of_the_wan_pool_are_a_table_pairs_or_text_wherever_they_are_given(
    written: Any,
) -> None:
    for one in (
        Config(gateway=True, wan_parameters=written),
        config_from({"gateway": True, "wan_parameters": written}),
    ):
        assert one.wan_parameters == (("probe_interval_s", 8.0), ("rumor_feedback", False))
        assert [type(value) for _, value in dict(one.wan_parameters).items()] == [float, bool]
        assert wan_config(one).probe_interval_s == 8.0
        assert wan_config(one).rumor_feedback is False
        assert hash(one) == hash(dataclasses.replace(one))
        assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            {"probe_interval_s": 601},
            f"wan_parameters: probe_interval_s = 601 is out of bounds: {SECONDS}",
        ),
        (
            {"rumor_mode": "shout"},
            "wan_parameters: rumor_mode = 'shout' is not one of push, pull, push-pull",
        ),
        (
            {"probe_interval": 6},
            "wan_parameters: 'probe_interval' cannot be set for the WAN pool alone: "
            "did you mean 'probe_interval_s'?",
        ),
        (
            {"digest_levels": 2},
            "wan_parameters: 'digest_levels' cannot be set for the WAN pool alone",
        ),
        (
            "probe_interval_s 2",
            "wan_parameters = 'probe_interval_s 2' is not a table of parameters: it takes "
            "a table such as { probe_interval_s = 2.0 }",
        ),
        (
            {"probe_timeout_s": 7},
            "wan_parameters: probe_timeout_s = 7.0 is not below probe_interval_s = 5.0",
        ),
    ],
)
def test_a_mistake_in_the_wan_pools_parameters_says_so(written: Any, says: str) -> None:
    for make in (Config, _from_file):
        with pytest.raises(ConfigError) as caught:
            make(**_any(wan_parameters=written))
        assert str(caught.value) == says


def test_the_table_that_a_refusal_shows_is_taken_from_a_file_and_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "kvgossip.toml"
    table = PARAMETERS["wan_parameters"].takes.removeprefix("a table such as ")
    file.write_text(f"gateway = true\nwan_parameters = {table}\n")
    in_file = load_config({}, {}, file, None)
    variables = {"KVGOSSIP_WAN_PARAMETERS": table.strip("{ }"), "KVGOSSIP_GATEWAY": "on"}
    assert load_config({}, variables, None, None) == in_file
    assert in_file.wan_parameters == (("probe_interval_s", 2.0),)


@pytest.mark.parametrize(
    ("given", "timeout_s"),
    [
        ({"probe_interval_s": 8.0}, 3.0),
        ({"probe_interval_s": 3.1}, 3.0),
        ({"probe_interval_s": 3.0}, 1.8),
        ({"probe_interval_s": 2.0}, 1.2),
        ({"probe_interval_s": 2.0, "probe_timeout_s": 1.9}, 1.9),
    ],
)
def test_a_short_interval_of_the_wan_pool_shortens_the_timeout_that_the_profile_gives(
    given: dict[str, float], timeout_s: float
) -> None:
    wan = wan_config(Config(wan_parameters=given))
    assert wan.probe_interval_s == given["probe_interval_s"]
    assert wan.probe_timeout_s == pytest.approx(timeout_s)


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
            (("probe_interval_s", 6.5), ("rumor_k", 2)),
        ),
        ("wan_parameters", "", ()),
    ],
)
def test_a_value_may_be_text(name: str, value: Any, taken: Any) -> None:
    found = getattr(config_from({name: value, "gateway": "wan" in name}), name)
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
        ("http", ["a b"]),
        ("http", ["127.0.0.1:1", "b:2", 5]),
        ("http", "127.0.0.1, unix:"),
        ("http", f"unix:/{'x' * 107}"),
        ("http_also", ["a b"]),
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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "rumor_k",
            "many",
            "rumor_k = 'many' is not a whole number: it takes a whole number from 0 to 64",
        ),
        (
            "probe_interval_s",
            True,
            f"probe_interval_s = True is not a number: {SECONDS}",
        ),
        ("anti_entropy", "perhaps", "anti_entropy = 'perhaps' is not true or false"),
        ("rumor_mode", "shout", "rumor_mode = 'shout' is not one of push, pull, push-pull"),
        (
            "gossip",
            7481,
            "gossip = 7481 is a port alone: it takes text such as 10.0.0.5:7481 or [::1]:7481",
        ),
        ("gossip", "a b", "gossip: 'a b' is not an address"),
        ("gossip", "7481", "gossip: '7481' is a port alone"),
        ("join", ["a:b:c"], "join: 'a:b:c' is not an address"),
        ("data_dir", 5, "data_dir = 5 is not text"),
        (
            "coordinates",
            [math.inf],
            "coordinates = (inf,) is not a position: it takes a list of up to 8 finite numbers",
        ),
        ("zone", "x" * 99, f"zone = '{'x' * 76}... is not a name"),
    ],
)
def test_a_refusal_names_the_parameter_the_value_and_what_it_takes(
    name: str, value: Any, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({name: value})
    assert str(caught.value).startswith(says[:60])
    assert says[60:] in str(caught.value)


def test_the_constructor_takes_a_number_for_a_number_and_text_for_an_address() -> None:
    assert Config(**_any(gossip="10.0.0.5", join="a:1, b")) == Config(
        gossip=Address("10.0.0.5", GOSSIP_PORT), join=("a:1", "b")
    )
    assert type(Config(probe_interval_s=2).probe_interval_s) is float
    for wrong in ({"rumor_k": "2"}, {"anti_entropy": 1}, {"gossip": 5}, {"rumor_k": 2.0}):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} = "):
            Config(**_any(**wrong))


def _from_file(profile: str = "lan", **values: Any) -> Config:
    return config_from(values, profile)


def _any(**values: Any) -> Any:
    return values


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.text("0123456789.:,=[] -", max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from(
        [
            10**400,
            -(10**400),
            object(),
            Address("a", -1),
            "\ud800",
            1j,
            PARAMETERS,
            dt.date(2026, 1, 1),
        ]
    )
    | st.sampled_from([*FIELDS, "push", "on", "null", "10.0.0.5:7481"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(max_size=4) | st.integers(), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    st.sampled_from([*PROFILES, "moon"]),
)
def test_any_values_are_a_sound_config_or_a_config_error(
    values: dict[str, Any], profile: str
) -> None:
    for make in (Config, partial(_from_file, profile)):
        try:
            config = make(**values)
        except ConfigError as error:
            refusal = f"{error} {error.hint}"
        else:
            check_sound(config)
            continue
        assert ".py" not in refusal


def check_sound(config: Config) -> None:
    assert all(low <= getattr(config, name) <= high for name, (low, high) in BOUNDS.items())
    assert all(type(getattr(config, name)) is PARAMETERS[name].type for name in BOUNDS)
    assert hash(config) == hash(dataclasses.replace(config))
    assert config == dataclasses.replace(config)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_of_more_digits_than_python_writes_is_refused_too(name: str) -> None:
    for value in (10**5000, -(10**5000)):
        with pytest.raises(ConfigError, match=f"^{name} = a value of type int is out of bounds"):
            config_from({name: value})


def test_a_key_of_the_keyring_stands_in_no_error() -> None:
    for keyring in (("secret",), ["secret", 5], {"secret": 1}):
        with pytest.raises(ConfigError) as caught:
            config_from({"keyring": keyring})
        assert "secret" not in f"{caught.value!r} {caught.value.hint}"


# -- descriptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=lambda parameter: parameter.name)
def test_every_parameter_has_a_description_in_sentences_and_a_section(parameter: Parameter) -> None:
    assert parameter.description[0].isupper() or parameter.description.startswith("push")
    assert parameter.description.endswith(".")
    assert "  " not in parameter.description
    assert parameter.description.split()[0] not in (
        "What",
        "Where",
        "Who",
        "Whether",
        "How",
        "Whom",
    )
    assert parameter.section
    assert parameter.takes


def test_the_page_of_the_configuration_is_what_the_declarations_make() -> None:
    text = make_configuration.PAGE.read_text(encoding="utf-8")
    assert text == make_configuration.page(), "run: python -m tools.make_configuration"
    for name in PARAMETERS:
        assert f"### `{name}`" in text
        assert f"`{variable_of(name)}`" in text
    assert max(map(len, text.splitlines())) <= 100


# -- the schema of the file ------------------------------------------------------------------------


def test_the_schema_knows_what_the_file_may_hold() -> None:
    schema = config_schema()
    assert list(schema["properties"]) == ["profile", "log_level", "log_format", *PARAMETERS]
    assert list(schema["properties"]["wan_parameters"]["properties"]) == list(WAN_PARAMETERS)
    for name, (low, high) in BOUNDS.items():
        declared = schema["properties"][name]
        assert (declared["minimum"], declared["maximum"], declared["default"]) == (
            low,
            high,
            getattr(Config(), name),
        )
        assert declared["description"] == PARAMETERS[name].description
    assert jsonschema_rs.meta.is_valid(schema)


@pytest.mark.parametrize(
    ("document", "fits"),
    [
        ({}, True),
        (
            {
                "profile": "wan",
                "name": "n1",
                "join": ["a:1"],
                "gossip": ":0",
                "probe_interval_s": 4,
            },
            True,
        ),
        (
            {
                "wan_parameters": {"probe_interval_s": 2.0},
                "keyring": "a file",
                "coordinates": [1, 2.5],
            },
            True,
        ),
        ({"profile": "moon"}, False),
        ({"probe_intervall_s": 1}, False),
        ({"probe_interval_s": 601}, False),
        ({"rumor_k": 2.5}, False),
        ({"rumor_mode": "shout"}, False),
        ({"name": "a b"}, False),
        ({"gossip": 7481}, False),
        ({"wan_parameters": {"digest_levels": 2}}, False),
        ({"wan_parameters": {"probe_interval_s": 601}}, False),
    ],
)
def test_the_schema_takes_what_the_agent_takes(
    document: dict[str, Any], fits: bool, tmp_path: Path
) -> None:
    assert jsonschema_rs.Draft202012Validator(config_schema()).is_valid(document) is fits
    values = dict(document)
    profile = values.pop("profile", "lan")
    if fits:
        config_from(values, profile)
    else:
        with pytest.raises(ConfigError):
            config_from(values, profile)


def test_every_default_fits_the_schema() -> None:
    schema = config_schema()
    defaults = {
        name: declared["default"]
        for name, declared in schema["properties"].items()
        if declared["default"] is not None
    }
    assert jsonschema_rs.Draft202012Validator(schema).is_valid(defaults)


# -- the commands ----------------------------------------------------------------------------------


def test_a_file_is_checked_without_a_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kvgossip.toml"
    file.write_text("profile = 'local'\nwan_parameters = { probe_interval_s = 6.0 }\n")
    assert command("config", "check", str(file)) == 0
    assert capsys.readouterr().out == "ok\n"
    file.write_text("probe_interval_s = 601\n")
    assert command("config", "check", str(file)) == 2
    first, hint = capsys.readouterr().err.splitlines()
    assert first == f"kvgossip: {file}: probe_interval_s = 601 is out of bounds: {SECONDS}"
    assert hint == f"hint: {PARAMETERS['probe_interval_s'].description}"


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 100_000, "\xff"])
def test_a_file_beyond_reading_is_one_clear_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kvgossip.toml"
    file.write_text(text, encoding="latin-1")
    assert command("config", "check", str(file)) == 2
    assert f"{file} is not valid TOML" in capsys.readouterr().err


def test_every_option_of_a_parameter_has_its_variable_and_its_description() -> None:
    agent = typer.main.get_command(app).commands["agent"]  # type: ignore[attr-defined]
    options = agent.get_params(typer.Context(agent))
    found = {option.name: option for option in options if option.name in PARAMETERS}
    assert set(found) == {
        *(
            "name",
            "cluster",
            "datacenter",
            "http",
            "http_hosts",
            "open_http",
            "no_ui",
            "gossip",
            "advertise",
            "join",
            "keyring",
            "data_dir",
            "identity",
        ),
        *("require_identity", "tokens", "gateway", "wan", "advertise_wan", "join_wan"),
        *("forget_after_s", "ephemeral"),
        *("tls_cert", "tls_key", "tls_client_ca"),
    }
    for name, option in found.items():
        assert option.opts == [f"--{name.removesuffix('_s').replace('_', '-')}"]
        assert option.secondary_opts == []
        assert option.envvar == variable_of(name)
        assert option.help == PARAMETERS[name].help


def command(*arguments: str) -> int:
    """The exit code of `kvgossip` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


# -- what can never work -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("0.0.0.0", "stands for all addresses"),
        ("::", "stands for all addresses"),
        ("::ffff:0.0.0.0", "stands for all addresses"),
        ("255.255.255.255", "is the broadcast address"),
        ("224.0.0.1", "is a multicast address"),
        ("ff02::1", "is a multicast address"),
        ("0.1.2.3", "that no machine has"),
        ("240.0.0.1", "that no machine has"),
        ("10.0.0.300", "is no IP address"),
        ("10.0.0", "is no IP address"),
        ("-", "neither a name of DNS nor an IP address"),
        ("a..b", "neither a name of DNS nor an IP address"),
        ("x" * 64, "neither a name of DNS nor an IP address"),
    ],
)
def test_an_address_at_which_nobody_is_reached_is_refused_with_what_to_write(
    host: str, words: str
) -> None:
    address = Address(host, 7481)
    for values in (
        {"advertise": address},
        {"advertise_wan": address, "gateway": True},
        {"join": (str(address),)},
        {"join_wan": (str(address),), "gateway": True},
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            Config(**values)
        assert str(caught.value).startswith(next(iter(values)))
        assert "address" in caught.value.hint


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "fe80::1%eth0", "10.0.0.5", "a", "a.example", "a.example.", "my_node",
     "xn--bcher-kva.example", "bücher.example", "node-1.svc", "100.64.0.1", "3com.example"],
)  # fmt: skip
def test_an_address_at_which_somebody_may_be_reached_is_taken(host: str) -> None:
    address = Address(host, 7481)
    assert Config(advertise=address, join=(str(address),)).advertise == address


def test_advertise_may_leave_out_the_host_or_the_port_and_a_join_address_neither() -> None:
    assert config_from({"advertise": ":7490"}).advertise == Address("", 7490)
    assert config_from({"advertise": "10.0.0.5:0"}).advertise == Address("10.0.0.5", 0)
    for target in (":7481", "10.0.0.5:0"):
        with pytest.raises(ConfigError, match="nobody is found at"):
            config_from({"join": target})


@pytest.mark.parametrize("name", ["wan", "advertise_wan", "join_wan"])
def test_what_is_for_gateways_is_refused_on_other_nodes(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is for gateways, and this node is none"):
        config_from({name: "10.0.0.5:7483"})
    assert config_from({name: "10.0.0.5:7483", "gateway": True}).gateway


@pytest.mark.parametrize(
    "values",
    [
        {"gossip": "127.0.0.1:7480", "http": "127.0.0.1:7480"},
        {"gossip": "0.0.0.0:7480", "http": "127.0.0.1:7480"},
        {"gossip": ":7480", "http": "10.0.0.5:7480"},
        {"gossip": "10.0.0.5:7483", "wan": "0.0.0.0:7483", "gateway": "true"},
        {"http": "[::]:7483", "wan": "0.0.0.0:7483", "gateway": "true"},
    ],
)
def test_one_address_for_two_things_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="are one address for two things"):
        config_from(values)


def test_different_hosts_or_free_ports_are_no_conflict() -> None:
    config_from({"gossip": "10.0.0.5:7480", "http": "127.0.0.1:7480"})
    config_from({"gossip": "127.0.0.1:0", "http": "127.0.0.1:0", "wan": ":0", "gateway": "true"})
