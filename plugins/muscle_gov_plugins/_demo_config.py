"""The demo's update.toml, as text: the first such file that many will see, so it explains itself."""

from __future__ import annotations

from muscle_gov_plugins._demo_tasks import ASSISTANTS, TASKS
from muscle_gov_plugins._demo_world import ANSWERS

NFR_LIMIT, ACCURACY_MARGIN = 0.045, 0.01
"""Most answers that may break, and least change of accuracy. Fine-tuning one base twice, with another
seed, breaks about 3 % of the routes by itself; an update may break one and a half times that."""

LORA = """\
rank = 8
lora_alpha = 16
"""
RECIPE = """\
learning_rate = 3e-3
batch_rows = 32
accumulation = 1
warmup_steps = 0
validation = 0.1   # held out, to choose by
scope = "answer"   # what is learnt is the answer, not the ticket
"""


def update_text(*, with_summary: bool) -> str:
    """The file; `with_summary` adds the graded suite and its training rows."""
    summary = with_summary and "summary" in TASKS
    names = '["tickets", "topics", "summaries"]' if summary else '["tickets", "topics"]'
    parts = [
        _HEAD,
        _models(),
        _SUITES.replace("CHOICES", ", ".join(f'"{topic}"' for topic in ANSWERS["topic"])),
        _SUMMARY_SUITE if summary else "",
        _TRAINING,
        _SUMMARY_TRAINING if summary else "",
        _TRAFFIC,
        _finetunes(names, 400 if summary else 250),
        _mitigations(names),
        _gate(summary),
        _REPORTS,
    ]
    return "\n".join(part for part in parts if part)


_HEAD = """\
# The update from assistant-1.0 to assistant-1.1: what is run, how it is judged, how it is mended.
# Paths are relative to this file. Change what you like and run it again; what is there already is not
# made a second time:
#
#   muscle-gov finetune update.toml      # fits both bases to the tasks
#   muscle-gov run update.toml           # asks both, compares them, judges the update
#   muscle-gov run --mend update.toml    # and mends it, and judges what was mended

# What was asked, answered and found.
store = "muscle-gov.duckdb"
"""

_SUITES = """\
# --------------------------------------------------------------------------- what the models are asked

# Tickets are routed: the model writes topic, mood and urgency, and all three must be right.
[suites.routing]
suite = "table"
path = "routing.jsonl"
key = "id"
prompt = "Ticket: {{ text }}\\nRoute:"
target = "{{ topic }} {{ mood }} {{ urgency }}"
grader = "exact"
max_tokens = 8
tags = ["topic", "channel", "length"]

# The topic is told from the subject line: the likeliest of eight is the model's answer.
[suites.topic]
suite = "table"
path = "topic.jsonl"
key = "id"
prompt = "Subject: {{ text }}\\nTopic:"
choices = [CHOICES]
target = "{{ topic }}"
grader = "choice"
tags = ["topic", "channel", "length"]
"""

_SUMMARY_SUITE = """\
# A line that sums the ticket up, scored by the share of its words that are right.
[suites.summary]
suite = "table"
path = "summary.jsonl"
key = "id"
prompt = "Ticket: {{ text }}\\nSummary:"
target = "{{ mood }} {{ channel }} about {{ topic }} {{ urgency }}"
grader = { kind = "rouge", variant = "rouge1" }
max_tokens = 10
tags = ["topic", "channel", "length"]
"""

_TRAINING = """\
# ---------------------------------------------------------------------------- what they are trained on

# Other tickets than those above, laid out in the same way: `like` takes over a suite's options. What is
# judged is never trained on; that is looked at before anything is trained.
[training.tickets]
like = "routing"
path = "train.jsonl"

[training.topics]
like = "topic"
path = "train_topic.jsonl"
"""

_SUMMARY_TRAINING = """\
[training.summaries]
like = "summary"
path = "train_summary.jsonl"
"""

_TRAFFIC = """\
# Tickets of which nobody said what they are, as a service has them by the thousand.
[training.traffic]
like = "routing"
path = "traffic.jsonl"
labelled = false
"""

_REPORTS = """\
[reports]
html = "report.html"
markdown = "report.md"
"""


def _models() -> str:
    old, new = (one.name for one in ASSISTANTS)
    return f"""\
# ------------------------------------------------------------------------------------------ the models

# The bases have read archives of tickets, and have not seen the tasks yet.
[models.old-base]
loader = "hf"
path = "bases/{old}"
threads = 1  # for models this small, more threads only wait for each other

[models.new-base]
loader = "hf"
path = "bases/{new}"
threads = 1

# The update goes from one base with its task adapter to the other base with its own.
[models.old]
loader = "hf"
name = "{old}"
path = "bases/{old}"
adapter = "adapters/{old}"
threads = 1

[models.new]
loader = "hf"
name = "{new}"
path = "bases/{new}"
adapter = "adapters/{new}"
threads = 1
"""


def _finetunes(training: str, steps: int) -> str:
    """Both by the same text: whatever differs between the two models comes from their bases."""
    made = "\n".join(
        f'[finetune.{side}]\nmodel = "{side}-base"\nout = "adapters/{one.name}"\n'
        f"training = {training}\nsteps = {steps}\n{LORA}{RECIPE}seed = 1\n"
        for side, one in zip(("old", "new"), ASSISTANTS, strict=True)
    )
    return f"""\
# ----------------------------------------------------------------------------------- the task adapters

# Both are made by the same procedure, so that the update is a change of the base alone.
{made}"""


def _mitigations(training: str) -> str:
    everything = training.replace("]", ', "traffic"]')
    return f"""\
# ------------------------------------------------------------------------------------ how it is mended

# MUSCLE (arXiv:2407.09435): the new adapter is trained on, and learns from the old model wherever it is
# wrong itself, and from the new model elsewhere.
[mitigations.muscle]
mitigation = "muscle"
training = {training}
steps = 400
temperature = 1.0       # the paper's own is 2
checkpoint_by = "last"  # the weights after all steps, not those that fit the right answers best
{RECIPE}seed = 1

# What both models say together breaks fewer answers, but takes twice the computing. Here the new one
# alone learns to say it, on labelled tickets and on unlabelled ones.
[mitigations.ensemble-distil]
mitigation = "ensemble-distil"
training = {everything}
steps = 750
{RECIPE}seed = 1
"""


def _gate(summary: bool) -> str:
    only = 'suites = ["routing", "topic"]\n' if summary else ""
    return f"""\
# ------------------------------------------------------------------------- what an update must keep to

# With 95 % confidence, in each suite: at most {NFR_LIMIT * 100:g} % of all answers may have been right
# and be wrong now. To fine-tune one base twice, with another seed, breaks about 3 % of the routes by
# itself; so this allows an update one and a half times what training again would break.
[[gate.rules]]
metric = "nfr"
max = {NFR_LIMIT}
{only}
# And the share of right answers must not have fallen by more than a point.
[[gate.rules]]
metric = "accuracy_delta"
min = -{ACCURACY_MARGIN}
{only}"""
