"""Apache Spark answers the questions of `sql/lake` as PostgreSQL does. Needs PySpark and Java: `make test-spark`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import known_archive
from support.exporting import EVER, SPRING, Export
from support.lake import agree, in_postgresql, in_spark, strange_calls
from support.postgres import Server, connection, fresh_database

pyspark = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: make test-spark")
if shutil.which("java") is None:
    pytest.skip("Java is not installed: Debian's default-jre-headless will do", allow_module_level=True)
# Its Python side and the JVM that it starts leave sockets and files open when they end.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Spark in this process, on two cores, listening on this machine only."""
    builder = pyspark.SparkSession.builder.master("local[2]").appName("cdr-archive")
    session = (
        builder.config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_spark_answers_alike_about_the_known_archive(
    embedded_server: Server, run: Export, tmp_path: Path, spark: Any, masked: bool
) -> None:
    with fresh_database(embedded_server) as url, connection(url) as archive:
        known_archive.store(archive)
        run(span=EVER, masked=masked, archive=archive)
        agree(in_postgresql(archive, masked=masked), in_spark(spark, tmp_path / "lake"))


def test_spark_answers_alike_about_strange_calls(
    embedded_server: Server, run: Export, tmp_path: Path, spark: Any
) -> None:
    with fresh_database(embedded_server) as url, connection(url) as archive:
        strange_calls(archive)
        run(span=SPRING, archive=archive)
        agree(in_postgresql(archive), in_spark(spark, tmp_path / "lake"))


def test_spark_reads_only_the_files_that_a_condition_leaves(
    embedded_server: Server, run: Export, tmp_path: Path, spark: Any
) -> None:
    with fresh_database(embedded_server) as url, connection(url) as archive:
        strange_calls(archive)
        run(span=SPRING, archive=archive)
    in_spark(spark, tmp_path / "lake")
    asked = spark.sql("SELECT DISTINCT input_file_name() FROM calls WHERE month = '2026-03' AND recorder = '0815'")
    (found,) = asked.collect()
    assert found[0].endswith("/calls/month=2026-03/recorder=0815/calls.parquet")
    plan = asked._jdf.queryExecution().toString()
    assert "PartitionFilters: [isnotnull(month" in plan
