"""Answers to many things that are asked of the host at once: what it says, or what a test says in its place."""


class Unanswered(Exception):
    """Why one of the things that were asked for has no answer, in words for people."""


def told(results):
    """What the host answered, an `Unanswered` where it has none."""
    return [Unanswered(result.value) if isinstance(result, Exception) else result.value for result in results]


def tried(answer, things):
    """What `answer` gives for each thing, or the `Unanswered` that it raises: for plain Python, where there is no host."""
    def one(thing):
        try:
            return answer(thing)
        except Unanswered as error:
            return error

    return [one(thing) for thing in things]
