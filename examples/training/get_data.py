"""Gets a dataset that comes with scikit-learn: a row for each sample."""

from dflow import command
from sklearn import datasets


@command
def get_data(table):
    (name,) = table["name"].to_pylist()
    data = getattr(datasets, f"load_{name}")()
    return {"features": list(data.data), "label": data.target}
