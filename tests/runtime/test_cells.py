"""Cells on two ranks: collectives, failures on one side, interrupts, output, IPython's features. One kernel for them all."""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_cell_runs_on_every_rank(kernel):
    result = kernel.run("total()")
    assert (result.status, result.text("execute_result")) == ("ok", "3.0")


def test_one_collective_after_another_stays_in_step(kernel):
    assert kernel.value("[total(i) for i in range(50)] == [2.0 * i for i in range(50)]") is True


# failures -----------------------------------------------------------------------------------------------------------


def test_an_exception_on_another_rank_fails_the_cell_with_its_traceback(kernel):
    result = kernel.run("if rank == 1: raise ValueError('boom')")
    assert (result.status, result.ename, result.evalue) == ("error", "ValueError", "[rank 1] boom")
    assert result.errors == ["ValueError: [rank 1] boom"]
    assert kernel.value("total()") == 3.0


def test_an_exception_on_rank_0_alone_is_its_own(kernel):
    result = kernel.run("if rank == 0: raise ValueError('boom')")
    assert (result.status, result.errors) == ("error", ["ValueError: boom"])


def test_the_same_exception_on_all_ranks_is_shown_once(kernel):
    result = kernel.run("1 / 0")
    assert (result.status, result.errors, result.text("stderr")) == (
        "error",
        ["ZeroDivisionError: division by zero"],
        "",
    )


@pytest.mark.parametrize(("culprit", "first_error"), [(1, "ValueError: [rank 1] boom"), (0, "ValueError: boom")])
def test_the_other_rank_is_released_from_its_collective(kernel, culprit, first_error):
    result = kernel.run(f"if rank == {culprit}: raise ValueError('boom')\ntotal()")
    assert result.status == "error"
    assert result.errors[0] == first_error, "the cause comes before its consequences"
    assert "inside a collective" in result.text("stderr")
    assert result.seconds < 30
    assert kernel.run("join()").status == "ok"
    assert kernel.value("total()") == 3.0


def test_closing_groups_leaks_no_descriptors(kernel):
    release = "if rank == 1: raise ValueError('boom')\ntotal()"
    counts = []
    for _ in range(3):
        kernel.run(release)
        kernel.run("join()")
        counts.append(kernel.value("total(len(os.listdir('/proc/self/fd')))"))
    assert counts[2] - counts[1] < 20, counts


def test_a_rank_that_works_on_after_a_failure_is_interrupted(kernel):
    result = kernel.run("if rank == 1: raise ValueError('boom')\ntime.sleep(60)")
    assert result.errors[0] == "ValueError: [rank 1] boom"
    assert "rank 0 still running: interrupting" in result.text("stderr")
    assert result.seconds < 30


def test_a_syntax_error_is_one_error(kernel):
    result = kernel.run("for in x")
    assert (result.status, result.ename, len(result.errors)) == ("error", "SyntaxError", 1)


# interrupts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "while True: pass",
        "import asyncio; await asyncio.sleep(60)",
        "!sleep 60",
        "if rank == 0: time.sleep(60)",
        "if rank == 1: time.sleep(60)",
    ],
    ids=["sleep", "busy loop", "await", "subprocess", "only rank 0 busy", "only rank 1 busy"],
)
def test_an_interrupt_ends_the_cell_on_every_rank(kernel, code):
    result = kernel.interrupted(code)
    assert result.status == "error" or code.startswith("!")
    assert "KeyboardInterrupt" in result.text("error") or "await" in code or code.startswith("!")
    assert result.seconds < 15  # of 60; a second on a machine of one's own
    assert kernel.value("total()") == 3.0


def test_an_interrupt_while_idle_changes_nothing(kernel):
    kernel.interrupt()
    assert kernel.value("total()") == 3.0


def test_an_interrupt_inside_a_collective_that_cannot_end(kernel):
    result = kernel.interrupted("if rank == 1: time.sleep(60)\ntotal()")
    assert result.status == "error"
    assert result.seconds < 30
    assert kernel.run("join()").status == "ok"
    assert kernel.value("total()") == 3.0


def test_raw_interrupts_of_a_loop_of_collectives_never_leave_wrong_numbers(kernel):
    for after in (0.2, 0.25, 0.3, 0.35, 0.4):
        result = kernel.interrupted("while True: total()", after=after)
        assert result.status == "error"
        if "process groups are closed" in result.text("stderr"):
            assert kernel.run("join()").status == "ok"
        assert kernel.value("total()") == 3.0


def test_a_cell_that_handles_the_interrupt_may_take_its_time(kernel):
    """A cooperative stop: the cell's own handler runs on every rank, and no rank is hurried while it saves."""
    code = """
flag = []
old = signal.signal(signal.SIGINT, lambda *_: flag.append(1))
child = __import__("subprocess").Popen(["sleep", "60"])
while not total(len(flag)): time.sleep(0.01)
signal.signal(signal.SIGINT, old)
alive = child.poll() is None; child.kill()
if rank == 0: time.sleep(3)   # saves, far beyond COOKBOOK_GRACE of this kernel
raise KeyboardInterrupt
"""
    result = kernel.interrupted(code, timeout=90)
    assert result.seconds > 2.5
    assert result.errors == ["KeyboardInterrupt: "]
    assert "interrupting" not in result.text("stderr")
    assert kernel.value("total(alive)") == 2.0, "the rank's children are needed until the cell ends"


# output -------------------------------------------------------------------------------------------------------------


def test_other_ranks_show_stderr_but_not_stdout(kernel):
    result = kernel.run("print('out', rank); print('err', rank, file=sys.stderr)")
    assert result.text("stdout") == "out 0\n"
    assert "err 0\n" in result.text("stderr")
    assert "[rank 1] err 1\n" in result.text("stderr")


def test_displays_come_from_rank_0(kernel):
    result = kernel.run("from IPython.display import display\ndisplay(rank); rank")
    assert result.text("display_data", "execute_result") == "00"


def test_many_lines_arrive_whole(kernel):
    result = kernel.run("for i in range(20000): print(i, file=sys.stderr if rank else sys.stdout)")
    assert result.text("stdout").split() == [str(i) for i in range(20000)]
    assert result.text("stderr").count("[rank 1] ") == 20000


def test_output_of_all_ranks_on_request(start_kernel):
    kernel = start_kernel(COOKBOOK_OUTPUT="all", setup="import os; rank = os.environ['RANK']")
    result = kernel.run("print('hello', rank)")
    assert sorted(result.text("stdout").splitlines()) == ["[rank 1] hello 1", "hello 0"]


# IPython ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio; await asyncio.sleep(0.05)",
        "task = asyncio.create_task(asyncio.sleep(0.05)); await task",
        "%time x = sum(range(1000))",
        "%%time\nx = total()",
        "%%bash\ntest -n $RANK",
        "!test -n $RANK",
        "%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
        "from tqdm.auto import tqdm\nfor i in tqdm(range(3)): pass",
        "def f():\n    '''doc'''\nf?",
    ],
)
def test_ipython_features_work_on_every_rank(kernel, code):
    result = kernel.run(code)
    assert result.status == "ok", result
    assert not result.errors
    assert kernel.value("total()") == 3.0


def test_the_last_result_exists_on_every_rank(kernel):
    kernel.run("rank + 40")
    assert kernel.value("total(_)") == 81.0


def test_the_shells_agree_on_settings_and_path(kernel):
    code = "[os.environ['MPLBACKEND'], os.getcwd(), sys.path[0], get_ipython().execution_count, __name__]"
    kernel.run(f"mine = {code}\nall_of_them = [None, None]; dist.all_gather_object(all_of_them, mine)")
    assert kernel.value("all_of_them[0] == all_of_them[1] or all_of_them") is True


def test_silent_code_runs_on_rank_0_only(kernel):
    kernel.run("marker = 0")
    kernel.collect(kernel.client.execute("marker = 1", silent=True))
    assert kernel.value("total(marker)") == 1.0


def test_threads_are_shared_out(kernel):
    assert kernel.value("os.environ['OMP_NUM_THREADS']") is not None


def test_every_rank_hears_the_answer_to_input(kernel):
    kernel.client.allow_stdin = True
    message = kernel.client.execute("answer = input('how many? ')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=10)
    kernel.client.input("7")
    assert kernel.collect(message).status == "ok"
    assert kernel.value("total(int(answer))") == 14.0


# processes ----------------------------------------------------------------------------------------------------------


def test_a_scheduler_that_signals_every_process_ends_no_rank(kernel):
    """Slurm's SIGTERM reaches ranks directly; the runner turns its own into an interrupt."""
    for who in ("0", "1"):
        os.kill(kernel.job.pid(who), signal.SIGTERM)
    time.sleep(1)
    assert kernel.value("total()") == 3.0


def test_children_can_be_terminated(kernel):
    """The ranks' own handling of SIGTERM is not inherited."""
    kernel.run("""
import subprocess, multiprocessing
a = subprocess.Popen(["sleep", "60"]); a.terminate()
b = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)); b.start(); b.terminate(); b.join(10)
""")
    assert kernel.value("total(a.wait(10)), b.exitcode") == (2.0 * -signal.SIGTERM, -signal.SIGTERM)


def test_a_world_can_be_left_and_joined_again_and_again(kernel):
    for _ in range(5):
        assert kernel.run("join()", timeout=90).status == "ok"
        assert kernel.value("total()") == 3.0
