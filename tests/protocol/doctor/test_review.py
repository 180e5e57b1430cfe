"""Reviews: what differs in how members are set up is named with what it costs, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from kvgossip.config import PARAMETERS, Address, Config, alike_parameters
from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.doctor.finding import Finding
from kvgossip.protocol.doctor.review import Setup, review
from kvgossip.protocol.doctor.shell_report import Host
from kvgossip.protocol.effect import OverviewReported
from kvgossip.protocol.wire.overview_messages import AskOverview, Overview
from kvgossip.protocol.wire.unit import encode, units_of
from tests.protocol.net import LAN, Network
from tests.protocol.net import told as messages_of

HTTP = Config(name="x", http=Address("10.0.0.5", 7480))
HOST = Host(("disk", "sealed", "metrics", "fast"), 4096, 10, 100)


def setup(name: str, config: Config = HTTP, host: Host = HOST, **said: object) -> Setup:
    overview = Overview(
        0, name, software="1", parameters=tuple(alike_parameters(config).items()), **host._asdict()
    )
    return Setup(name, "lan", config.datacenter, msgspec.structs.replace(overview, **said), 0)


def found(*setups: Setup, **options: object) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.code, each.members) for each in review(setups, "a", **options)]  # type: ignore[arg-type]


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# -- what members say -----------------------------------------------------------------------------


def test_a_member_says_how_it_is_set_up_where_a_member_asks_so_and_to_nobody_else() -> None:
    network = Network()
    network.cluster("a b")
    network.replicas["b"].shell_report.host = lambda: HOST
    for topic, parameters, host in (
        (Topic.OVERVIEW, {}, Host()),
        (Topic.SETUP, alike_parameters(network.replicas["b"].config), HOST),
    ):
        first = len(network.effects["a"])
        network.perform("a", network.replicas["a"].survey(7, network.now("a"), topic))
        network.run(0.5)
        (heard,) = (e for e in network.effects["a"][first:] if isinstance(e, OverviewReported))
        assert dict(heard.overview.parameters) == parameters
        assert Host(*(getattr(heard.overview, name) for name in Host._fields)) == host
    source, b = network.replicas["a"].member.address, network.replicas["b"]
    for sender, says in (("a", True), ("stranger", False)):
        question = LAN.frame([encode(AskOverview(1, sender, setup=True))])
        answers = b.receive(question, source, network.now("b"), reliable=True)
        (answer,) = (each for _, each in messages_of(LAN, answers) if isinstance(each, Overview))
        assert bool(answer.parameters) is says


def test_what_is_said_has_no_secret_no_path_and_nothing_that_is_a_nodes_own() -> None:
    config = Config(
        name="x", http=Address("10.0.0.5", 7480), keyring=("ab" * 32,), tokens="/etc/tokens",
        identity="/etc/identity", tls_cert="/etc/cert", tls_key="/etc/key", data_dir="/data",
        gateway=True,
    )  # fmt: skip
    said = alike_parameters(config)
    assert not any("/" in text or "abab" in text for text in said.values())
    assert (said["identity"], said["tls_cert"], said["tls_client_ca"]) == ("set", "set", "not set")
    own = {name for name, parameter in PARAMETERS.items() if parameter.own}
    assert {"name", "http", "data_dir", "tokens", "keyring", "tls_key", "zone"} <= own
    assert not own & said.keys()
    assert (said["probe_interval_s"], said["wan_parameters.probe_interval_s"]) == ("1.0", "5.0")
    # what is not in force is not said
    assert "http_head_bytes_max" not in alike_parameters(Config(name="x"))
    assert "forget_after_s" not in alike_parameters(Config(name="x", ephemeral=True))


# -- parameters -----------------------------------------------------------------------------------


def test_a_parameter_is_named_with_both_values_its_cost_and_the_line_that_mends_it() -> None:
    odd = replace(HTTP, history_versions=0, name="other", zone="z", data_dir="/elsewhere")
    setups = [setup("a"), setup("b", odd), setup("c"), setup("d", odd), setup("e")]
    finding = only(review(setups, "a"))
    assert (finding.code, finding.members) == ("parameter_differs", ("b", "d"))
    assert finding.text == (
        "history_versions is 0 on b, d, and 8 on a, c, e. "
        f"{PARAMETERS['history_versions'].description} "
        "Write `history_versions = 8` into the configuration of b, d, and restart"
    )
    assert found(*setups, ignored=["history_versions"]) == []
    assert found(setup("a"), setup("b"), setup("c")) == []


def test_of_two_the_one_that_was_asked_is_right_and_a_file_goes_before_both() -> None:
    odd = replace(HTTP, value_bytes_max=5000)
    two = setup("a"), setup("b", odd)
    assert found(*two) == [("parameter_differs", ("b",))]
    assert found(*two, against=alike_parameters(odd, everything=True)) == [
        ("parameter_differs", ("a",))
    ]
    third = alike_parameters(replace(odd, value_bytes_max=7), everything=True)
    assert found(*two, against=third) == [("parameter_differs", (name,)) for name in "ab"]
    text = review(two, "a", third)[0].text
    assert text.startswith("value_bytes_max is 1048576 on a, and 7 in the file. ")
    assert found(*two, against={"newer_than_this_release": "1"}) == []


def test_parameters_of_a_pool_are_compared_within_it_and_those_of_the_store_everywhere() -> None:
    slow = replace(HTTP, datacenter="dc2", probe_interval_s=5.0)
    far = setup("c", slow), setup("d", slow)
    assert found(setup("a"), setup("b"), *far) == []
    assert found(setup("a"), setup("b"), setup("c", replace(slow, clock_drift_max_s=3.0))) == [
        ("parameter_differs", ("c",))
    ]
    # a file is that of the LAN pool of the node that is asked
    assert found(setup("a"), *far, against=alike_parameters(HTTP, everything=True)) == []
    gateway = replace(HTTP, gateway=True)
    quick = replace(gateway, datacenter="dc2", wan_parameters={"gossip_fanout": 9})
    finding = only(review([setup("a", gateway), setup("b", quick), setup("c")], "a"))
    assert finding.members == ("b",)
    assert "Write `wan_parameters = { gossip_fanout = 4 }`" in finding.text


def test_who_serves_no_http_is_not_compared_in_what_http_needs() -> None:
    embedded = setup("b", Config(name="x"), Host((), 256))
    assert found(setup("a"), embedded, setup("c")) == []


def test_what_a_newer_release_or_a_liar_says_is_no_difference_and_is_shown_plain() -> None:
    lies = (("no_such", "1"), ("name", '"y"'), ("history_versions", "8\u202e" * 100))
    setups = setup("a"), setup("b", parameters=lies), setup("c")
    finding = only(review(setups, "a"))
    assert "\u202e" not in finding.text
    assert finding.text.startswith(f"history_versions is {'8' * 64} on b, and 8 on a, c. ")


# -- releases and machines ------------------------------------------------------------------------


def test_releases_extras_files_disks_clocks_keys_and_tokens_are_compared() -> None:
    a, b = setup("a", keyring=("k2", "k1"), tokens="t"), setup("b", keyring=("k2",), tokens="t")

    def odd(**said: object) -> list[tuple[str, tuple[str, ...]]]:
        return found(a, b, setup("c", HTTP, HOST, **{"keyring": ("k2",), "tokens": "t"} | said))

    assert odd() == []
    assert odd(software="0.9") == [("release_differs", ("c",))]
    assert odd(extras=("disk", "sealed", "metrics")) == [("extra_missing", ("c",))]
    assert odd(files_max=1024) == [("files_fewer", ("c",))]
    assert odd(files_max=0) == [], "no bound is not less"
    assert odd(disk_free_bytes=19) == [("disk_room", ("c",))]
    assert odd(disk_free_bytes=-1) == [], "it has no data directory"
    assert odd(keyring=("k1",)) == [("key_missing", ("c",))]
    assert odd(keyring=("k1", "k2")) == [("key_older", ("c",))]
    assert odd(tokens="none") == [("tokens_missing", ("c",))]
    assert odd(tokens="u") == [("tokens_differ", ("c",))]
    late = replace(setup("c", keyring=("k2",), tokens="t"), clock_offset_ms=-1500)
    assert found(a, b, late) == [("clock", ("c",))]
    assert found(a, b, replace(late, clock_offset_ms=None)) == []


def test_who_does_not_answer_or_does_not_say_is_a_finding() -> None:
    older = setup("b", parameters=(), extras=(), files_max=0, disk_bytes=0, disk_free_bytes=-1)
    silent = replace(setup("c"), overview=None)
    findings = review([setup("a"), older, silent], "a")
    assert [(each.code, each.members) for each in findings] == [
        ("setup_unknown", ("b",)),
        ("setup_unknown", ("c",)),
    ]
    assert "its release is older" in findings[0].text
    assert findings[1].command == "kvgossip doctor"


def test_what_releases_before_reviews_ask_and_answer_is_read_and_says_nothing() -> None:
    older = (
        "57 00000004 9205a161",
        "58 00000029 dc001105a162a1310202039192a163a174a16f91a16ba17491a1780491a1610691a17391a16491a16c",
    )
    (question, answer), faults = units_of(memoryview(bytes.fromhex("".join(older))))
    assert faults == []
    assert question == AskOverview(5, "a", setup=False)
    assert isinstance(answer, Overview)
    assert (answer.lost, answer.parameters, answer.disk_free_bytes) == (("l",), (), -1)
