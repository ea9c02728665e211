"""run_ranks(work, world, *args): what several ranks do together, in a test. `work` is a function of the test's module."""

from cookbook_lib.parallel.spawn import RanksFailed, run_ranks

__all__ = ["RanksFailed", "run_ranks"]
