"""Models that the pipeline grants: the contract's `models`.

    answers = models.complete("writer", [models.Prompt(text, max_tokens=100) for text in columns[0]])

For operators of the profile `open` whose description wants `models`. The host asks at its pace and within its budget, and keeps what is answered. A
component that imports this module is refused without such a grant. In plain Python a test says what is answered (`testing.modelling`).
"""

import json
from dataclasses import dataclass

from .answers import Unanswered, told, tried

try:
    from wit_world.imports import models as host
except ImportError:
    host = None


@dataclass
class Prompt:
    """A completion that is asked for.

    `system` is what the model is told before, `schema` the JSON Schema of the object that the answer is to be, `params` further parameters such as
    `{"temperature": 0}`. `max_tokens` may come out, as many as the model gives when 0; where the pipeline has a budget it must be said.
    """

    text: str
    max_tokens: int = 0
    system: str = ""
    schema: dict | None = None
    params: dict | None = None


@dataclass
class Answer:
    """An answer. `finish` is why it ends: `stop`, `length`, `refused`, or what the provider says."""

    text: str
    finish: str = "stop"
    input_tokens: int = 0
    output_tokens: int = 0


def complete(model, prompts):
    """Asks a model, by the name that the pipeline gives it, and gives an `Answer` or an `Unanswered` for each prompt, in their order.

    They are asked side by side: those of a whole batch are best asked at once. What may help was tried already.
    """
    if host is None:
        return tried(lambda prompt: completion(model, prompt), prompts)
    return told(host.complete(model, [host.Prompt(each.system, each.text, _json(each.schema), _json(each.params), each.max_tokens) for each in prompts]))


def embed(model, texts):
    """Gives the vector of each text, a list of floats, or an `Unanswered`; otherwise as `complete`."""
    return tried(lambda text: vector(model, text), texts) if host is None else told(host.embed(model, list(texts)))


def completion(model, prompt):
    """What stands in for models in plain Python."""
    raise Unanswered(f"neither a host nor a test answers for `{model}` here")


def vector(model, text):
    """What stands in for models in plain Python."""
    raise Unanswered(f"neither a host nor a test answers for `{model}` here")


def _json(value):
    return "" if value is None else json.dumps(value)
