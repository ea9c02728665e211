"""The recipes, and how a field of the schema says which of them read it.

train_on: ... = field(default="assistant", metadata=only("sft"))                read by sft alone
truncation: ... = field(default="right", metadata=but(pointwise="turns"))       read by all, another default in one
both: ... = field(default=1, metadata=only("sft", "dpo") | but(dpo=2))
"""

from typing import Any, Literal

Recipe = Literal["sft", "bradley_terry", "pointwise", "generative_pointwise", "generative_pairwise", "dpo"]

GENERATIVE: tuple[Recipe, ...] = ("generative_pointwise", "generative_pairwise")  # reinforcement learning
PAIRS: tuple[Recipe, ...] = ("bradley_terry", "dpo")  # a row is a prompt with a better and a worse answer


def only(*recipes: Recipe) -> dict[str, Any]:
    """Metadata of a field, or of a whole section, that only these recipes read."""
    return {"recipes": recipes}


def but(**defaults: Any) -> dict[str, Any]:
    """Metadata of a field whose default is another one in these recipes."""
    return {"defaults": defaults}
