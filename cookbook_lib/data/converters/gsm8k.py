"""GSM8K (openai/gsm8k): grade-school problems; the worked answer ends in `#### 72`.

Calculator marks (`48/2 = <<48/2=24>>24`) are taken out: they address a tool that this model does not have.
"""

from __future__ import annotations

import re
from typing import Any

from cookbook_lib.data.converters.fields import text_field
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.records import Conversation, chat, group_of

CALCULATOR = re.compile(r"<<[^<>]*>>")
FINAL = re.compile(r"^#### *(\S+) *$", re.MULTILINE)


@register_converter("gsm8k", about="question, answer ending in #### N; calculator marks taken out")
def from_gsm8k(row: dict[str, Any], options: Options) -> Conversation:
    """One problem -> one conversation whose `answer` is the final number, without thousands commas."""
    question, worked = text_field(row, "question"), text_field(row, "answer")
    final = FINAL.findall(worked)
    if len(final) != 1:
        refuse("answer", worked[-40:], "a worked answer ends in one line '#### N'", "correct the row")
    response = CALCULATOR.sub("", worked)
    return chat(question, response, group=group_of(question), source="gsm8k", answer=final[0].replace(",", ""))
