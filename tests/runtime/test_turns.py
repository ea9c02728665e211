"""Verdicts: who failed first, who was only released, who is owed; ranks in and out of step."""

from cookbook_lib.runtime.groups import out_of_step, waits_for
from cookbook_lib.runtime.rescue import name_ranks
from cookbook_lib.runtime.turns import INTERRUPTED, Turn, Verdict

OK = Verdict()
BOOM = Verdict.error("ValueError", "boom")
STOP = Verdict.error(INTERRUPTED)


def test_a_turn_is_over_when_every_rank_has_answered():
    turn = Turn(1, 3)
    assert turn.settle(1, OK)
    assert turn.settle(0, OK)
    assert turn.pending() == [2]
    assert not turn.settle(2, OK)
    assert turn.over
    assert turn.done.result() == {0: OK, 1: OK, 2: OK}


def test_the_first_verdict_of_a_rank_counts():
    turn = Turn(1, 2)
    turn.settle(1, BOOM)
    turn.settle(1, OK)
    assert turn.verdicts == {1: BOOM}


def test_the_first_failure_is_the_cause_and_an_exception_more_so_than_an_interrupt():
    turn = Turn(1, 3)
    turn.settle(2, STOP)
    assert turn.first_failure() == (2, STOP)
    turn.settle(1, BOOM)
    turn.settle(0, Verdict.error("RuntimeError", "connection closed by peer"))
    assert turn.first_failure() == (1, BOOM)


def test_what_follows_from_an_abort_is_no_cause():
    turn = Turn(1, 2)
    turn.settle(0, STOP)
    turn.aborted = True
    turn.settle(1, Verdict.error("RuntimeError", "connection closed by peer"))
    assert turn.first_failure() == (0, STOP)


def test_verdicts_travel():
    verdict = Verdict("error", "ValueError", "boom", ["line"], {"0": 3})
    assert Verdict(**verdict.as_fields()) == verdict


def test_ranks_out_of_step_are_told_by_group_members_only():
    assert (
        out_of_step({0: Verdict(collectives={"0": 5, "left": 1}), 1: Verdict(collectives={"0": 5, "right": 9})}) == ""
    )
    assert (
        out_of_step({0: Verdict(collectives={"0": 5}), 1: Verdict(collectives={"0": 6})})
        == "group '0' (rank 0: 5, rank 1: 6)"
    )


def test_a_rank_waits_for_another_only_in_a_group_of_both():
    assert waits_for({"0": 6}, {"0": 5})
    assert not waits_for({"0": 5}, {"0": 5})
    assert not waits_for({"left": 9}, {"right": 1})


def test_ranks_are_named_in_spans():
    assert name_ranks([1]) == "rank 1"
    assert name_ranks([5, 1, 2, 3, 7]) == "ranks 1-3,5,7"
