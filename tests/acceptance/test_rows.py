"""A line of the truth table is judged and printed as it is meant."""

from __future__ import annotations

from tests.acceptance.rows import Row, in_order, render_summary, render_table, wrong_rows


def test_an_exact_row_must_be_equal() -> None:
    """One byte too many is wrong, one too few as well."""
    rows = [Row("total", "all", "bytes", 100, value) for value in (99, 100, 101)]

    assert wrong_rows(rows) == [rows[0], rows[2]]
    assert [row.error() for row in rows] == [-1, 0, 1]


def test_an_allowed_error_is_the_largest_that_passes() -> None:
    """At the bound it is right, beyond it wrong."""
    rows = [Row("mean", "10ms", "ms", 10.0, value, allowed=0.5) for value in (9.5, 10.5, 10.6)]

    assert wrong_rows(rows) == [rows[2]]


def test_errors_of_several_counts_do_not_cancel_out() -> None:
    """One packet too many here and one too few there are two errors."""
    row = Row("sequence", "swaps", "", (10, 3, 2), (10, 4, 1))

    assert row.error() == 2
    assert wrong_rows([row]) == [row]


def test_a_row_without_truth_is_shown_and_not_judged() -> None:
    """What no tool knows better is no error, and in no summary."""
    row = Row("merged", "file", "packets", None, 7)

    assert wrong_rows([row]) == []
    assert "| merged | file | - | 7 packets | - |  |" in render_table([row])
    assert "merged" not in render_summary([row])


def test_equal_rows_are_one_line() -> None:
    """Streams with the same values share a line that names them; another value has its own."""
    rows = [
        Row("sequence", "swaps", "", (4, 1), (4, 1), stream="TCP"),
        Row("sequence", "swaps", "", (4, 1), (4, 1), stream="UDP"),
        Row("sequence", "swaps", "", (4, 1), (4, 2), stream="ICMP"),
    ]

    assert render_table(rows).splitlines()[2:] == [
        "| sequence | swaps: TCP, UDP | 4 / 1 | 4 / 1 | 0 |  |",
        "| sequence | swaps: ICMP | 4 / 1 | 4 / 2 | +1 |  |",
    ]


def test_other_tools_stand_with_their_own_error() -> None:
    """A figure and how far it is from the truth, in percent."""
    row = Row("total", "all", "bytes", 2000, 2000, others={"bmon": 2010})

    assert "bmon 2 010 bytes (+0.50 %)" in render_table([row])


def test_the_summary_shows_the_error_nearest_to_failing() -> None:
    """Of two errors the one that is more of what is allowed."""
    rows = [
        Row("mean", "10ms", "ms", 10.0, 10.04, allowed=0.05),
        Row("mean", "500ms", "ms", 500.0, 500.1, allowed=5.0),
    ]

    assert "| mean | 2 | +0.0400 ms (+0.400 %) |" in render_summary(rows)


def test_rows_are_ordered_by_their_first_appearance() -> None:
    """Measurements stay together, scenarios in them too."""
    rows = [
        Row(measurement, scenario, "", 1, 1)
        for measurement, scenario in (("b", "y"), ("a", "x"), ("b", "x"), ("a", "y"))
    ]

    ordered = [(row.measurement, row.scenario) for row in in_order(rows)]
    assert ordered == [("b", "y"), ("b", "x"), ("a", "y"), ("a", "x")]
