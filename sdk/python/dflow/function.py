"""What a function of a `python` stage can say about itself."""


def batch(function):
    """Marks a function that is given whole batches: each parameter is a `Column` of the batch's rows, and it gives a column with a value for
    each (a list, an `array`, a `Column`), or a dict of such columns by name.

    What it gives for a row must not depend on the other rows of the batch.
    """
    function.__dflow_batch__ = True
    return function
