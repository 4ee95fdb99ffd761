"""The lake: Parquet files in a folder or in S3, behind one interface.

It does not know what the files mean; keys are built in ``tippers_dagster.platform.lake.keys``.
"""

from tippers_dagster.platform.lake.store import Lake, open_lake

__all__ = ["Lake", "open_lake"]
