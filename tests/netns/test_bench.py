"""script/bench measures what it says: every part once, small; no figure of time is judged."""

from __future__ import annotations

import pytest

from bench import path, process, program
from bench.goals import Goal, Results, make_goals
from bench.peers import EMPTY, FLOOR, NOTHING, SEED_STYLE, TCPDUMP_WRITE, VTAP
from bench.programs import load_file
from bench.report import fill_readme, make_document, render
from tests.support.frames import ethernet, icmp, ipv4, tcp, udp
from tests.support.program_run import run_program

FRAMES = 20_000
PEERS = (NOTHING, EMPTY, FLOOR, SEED_STYLE, VTAP, TCPDUMP_WRITE)


@pytest.fixture(scope="module")
def path_costs() -> dict[str, path.PathCost]:
    return path.measure(1, FRAMES, PEERS)


def test_every_frame_that_is_timed_is_counted(path_costs: dict[str, path.PathCost]) -> None:
    """On one CPU and on two at once, what vTap counted is what was injected, warm-up included."""
    cost = path_costs[VTAP.name]

    cpus = sum(cost.costs)
    assert cost.sent == (FRAMES + path.WARM_UP_FRAMES) * cpus
    assert cost.seen == cost.sent


def test_every_peer_has_a_turn_of_each_kind(path_costs: dict[str, path.PathCost]) -> None:
    """Nothing, empty filter and floor do not count packets; the others say how many they saw."""
    for peer in PEERS:
        cost = path_costs[peer.name]
        assert [len(turns) for turns in cost.costs.values()] == [1] * len(cost.costs)
        assert all(turn.packet_ns > 0 for turns in cost.costs.values() for turn in turns)
        assert (cost.seen is None) == (peer in {NOTHING, EMPTY, FLOOR})
    assert 0 < (path_costs[TCPDUMP_WRITE.name].seen or 0) <= path_costs[TCPDUMP_WRITE.name].sent


def test_the_baseline_counts_right_where_one_cpu_counts() -> None:
    """Five datagrams numbered 1 2 4 9 8: small, big, reverse; packets of others apart."""
    loaded = load_file("seed_style")
    frames = [ethernet(ipv4(udp(bytes(4) + bytes([0, 0, 0, n])))) for n in (1, 2, 4, 9, 8)]

    for frame in [*frames, ethernet(ipv4(tcp(b"abc", seq=7))), ethernet(ipv4(icmp(bytes(12))))]:
        run_program(loaded.fd, frame)

    names = ("packets", "throughput", "goodput")
    sums = {name: [leaf.value for leaf in loaded.bpf[name.encode()].values()] for name in names}
    assert sums == {
        "packets": [1, 5, 1],
        "throughput": [14 + 20 + 20 + 3, 5 * (14 + 20 + 8 + 8), 14 + 20 + 8 + 12],
        "goodput": [3, 5 * 8, 12],
    }
    found = [
        (leaf.packets, leaf.reverse, leaf.small, leaf.big, leaf.number)
        for leaf in loaded.bpf[b"sequences"].values()
    ]
    assert found == [(1, 0, 0, 0, 7), (5, 1, 1, 1, 8), (1, 0, 0, 0, 0)]


def test_the_baseline_finds_a_pattern_anywhere() -> None:
    """The number stands OFFSET bytes behind the pattern; without a pattern there is none."""
    loaded = load_file("seed_style", pattern=True)
    for position in (0, 1, 700):
        payload = bytes(position) + b"\xe7\xa5\xc3\x18" + bytes([0, 0, 0, position % 256])
        run_program(loaded.fd, ethernet(ipv4(udp(payload))))
    run_program(loaded.fd, ethernet(ipv4(udp(bytes(100)))))

    _, sequence, _ = loaded.bpf[b"sequences"].values()
    assert (sequence.packets, sequence.number) == (3, 700 % 256)


def test_the_rule_sets_have_as_many_rules_as_they_say_and_one_matches() -> None:
    """The last rule alone is that of the frame."""
    sets = {rule_set.name: rule_set.rules for rule_set in program.make_rule_sets()}

    assert {name: len(rules) for name, rules in sets.items()} == {
        "1 rules": 1,
        "10 rules": 10,
        "100 rules": 100,
        "1000 rules": 1000,
        "10000 rules": 10000,
        "1000 rules of eight shapes": 1000,
    }
    for rules in sets.values():
        assert len(set(rules)) == len(rules)
        assert rules.index(program.MATCHED_RULE) == len(rules) - 1


def test_a_whole_report(path_costs: dict[str, path.PathCost]) -> None:
    """Every part fills its table, the JSON and the place in README.md."""
    figures, (rules, seconds) = program.measure(2), program.measure_rules(2)
    starts = process.measure_start(1)
    rest = process.measure_rest(0.1, [(4, 1), (3, 0.5)])
    scrapes = process.measure_scrapes(20, 1)
    results = Results(path_costs, figures, rules, seconds, starts, rest, scrapes)

    assert starts[0].cpu_seconds > 0
    assert [(each.interfaces, each.interval_s) for each in rest] == [(4, 1), (3, 0.5)]
    assert all(0 < each.anonymous_kb < each.rss_kb for each in rest)
    assert len(scrapes.milliseconds) == 20
    # A CPU counts a packet while its counters are read: its bytes may come a moment later.
    assert scrapes.inconsistent_frames <= 1
    assert scrapes.packets > 0
    report, document = render(results, 1), make_document(results)
    assert set(rules) <= set(document["rules_ns"])
    for name in [*path_costs, *figures, *rules]:
        assert f"| {name} |" in report
    goals = make_goals(results)
    assert len(goals) == len(document["goals"]) == 15 + len(path_costs[VTAP.name].costs)
    assert next(goal for goal in goals if goal.unit == "packets").is_met


def test_a_goal_is_met_as_it_is_printed() -> None:
    """What is printed as the limit is on its right side, a hundredth above or below is not."""
    assert Goal("", 1.6, 1.604).is_met
    assert not Goal("", 1.6, 1.61).is_met
    assert Goal("", 20, 19.996, is_at_most=False).is_met
    assert not Goal("", 20, 19.99, is_at_most=False).is_met


def test_the_readme_has_a_place_for_the_table() -> None:
    """Only what is between the markers changes."""
    text = "a\n<!-- begin overhead -->\nold\n<!-- end overhead -->\nb\n"

    assert fill_readme(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="begin overhead"):
        fill_readme("a", "new")
