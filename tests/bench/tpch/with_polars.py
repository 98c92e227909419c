"""Polars, streaming: the queries as its users write them, in expressions."""

from datetime import date

import polars
from polars import col, len as count

import queries

PRICE = col("l_extendedprice") * (1 - col("l_discount"))


def q1(lineitem):
    groups = lineitem.filter(col("l_shipdate") <= date(1998, 9, 2)).group_by("l_returnflag", "l_linestatus")
    return groups.agg(
        col("l_quantity").sum().alias("sum_qty"),
        col("l_extendedprice").sum().alias("sum_base_price"),
        PRICE.sum().alias("sum_disc_price"),
        (PRICE * (1 + col("l_tax"))).sum().alias("sum_charge"),
        col("l_quantity").mean().alias("avg_qty"),
        col("l_extendedprice").mean().alias("avg_price"),
        col("l_discount").mean().alias("avg_disc"),
        count().alias("count_order"),
    ).sort("l_returnflag", "l_linestatus")


def q3(lineitem, orders, customer):
    joined = (
        customer.filter(col("c_mktsegment") == "BUILDING")
        .join(orders.filter(col("o_orderdate") < date(1995, 3, 15)), left_on="c_custkey", right_on="o_custkey")
        .join(lineitem.filter(col("l_shipdate") > date(1995, 3, 15)), left_on="o_orderkey", right_on="l_orderkey")
    )
    groups = joined.group_by("o_orderkey", "o_orderdate", "o_shippriority").agg(PRICE.sum().alias("revenue"))
    columns = [col("o_orderkey").alias("l_orderkey"), "revenue", "o_orderdate", "o_shippriority"]
    return groups.select(columns).sort("revenue", "o_orderdate", descending=[True, False]).head(10)


def q6(lineitem):
    shipped = col("l_shipdate").is_between(date(1994, 1, 1), date(1995, 1, 1), closed="left")
    few = lineitem.filter(shipped & col("l_discount").is_between(0.05, 0.07) & (col("l_quantity") < 24))
    return few.select((col("l_extendedprice") * col("l_discount")).sum().alias("revenue"))


def group(lineitem):
    return lineitem.group_by("l_partkey").agg(
        count().alias("lines"), col("l_quantity").sum().alias("quantity"), col("l_extendedprice").max().alias("dearest")
    )


def sort(lineitem):
    columns = lineitem.select("l_orderkey", "l_linenumber", "l_extendedprice")
    return columns.sort("l_extendedprice", "l_orderkey", "l_linenumber", descending=[True, False, False])


def top(lineitem):
    return sort(lineitem).head(1_000_000)


def main():
    name, _, files, out = queries.asked()

    def work():
        tables = {table: polars.scan_parquet(file) for table, file in files.items()}
        globals()[name](**tables).sink_parquet(out, compression="zstd", compression_level=1, engine="streaming")

    queries.timed(work)


if __name__ == "__main__":
    main()
