from dflow import command


@command
def double(table):
    return [{"__parent__": place, "copy": copy} for place in range(table.num_rows) for copy in (0, 1)]
