"""The only reader of the environment.

Every setting is an environment variable that starts with ``TIPPERS_`` (or a line of ``.env``).
With none set, everything lives under ``TIPPERS_HOME`` on an embedded PostgreSQL.
"""

from __future__ import annotations

import datetime as dt
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from tippers_dagster.errors import SettingsError

ChunkSize = Literal["day", "week", "month"]

SqlEngine = Literal["duckdb", "postgres"]

_URL = r"^https?://[^\s/]+"

SESSION_COLUMNS = ("mac_address", "sensor_id", "start_time", "end_time", "space_id")
SPACE_COLUMNS = ("space_id", "space_name", "parent_space_id", "building_room")


class Settings(BaseSettings):
    """The settings of a deployment. Field ``x`` is the variable ``TIPPERS_X``."""

    model_config = SettingsConfigDict(
        env_prefix="TIPPERS_",
        env_file=".env",
        env_ignore_empty=True,  # an empty line of .env leaves the setting unset
        extra="ignore",
        frozen=True,
    )

    # --- places -----------------------------------------------------------------------------
    home: Path = Field(Path(".tippers"), description="folder for everything kept on this machine")
    database_url: SecretStr | None = Field(
        None, description="warehouse (PostgreSQL); unset: embedded, in the home folder"
    )
    dagster_url: SecretStr | None = Field(
        None, description="Dagster's storage (PostgreSQL); unset: embedded"
    )
    source_url: SecretStr | None = Field(
        None, description="the campus's own database, read only; unset: the warehouse"
    )
    builder_url: SecretStr | None = Field(
        None,
        description="the warehouse, with the role that dbt uses; unset: the role tippers_builder "
        "is created",
    )
    builder_functions: str = Field(
        "",
        description="additional PostgreSQL functions that hand-written models may call, "
        "space-separated",
    )
    reader_url: SecretStr | None = Field(
        None,
        description="the warehouse, with a read-only role for user SQL; unset: the role "
        "tippers_reader is created",
    )
    dagster_yaml: FilePath | None = Field(
        None, description="Dagster's instance file; unset: the one that comes with tippers"
    )
    mlflow_url: str | None = Field(None, description="MLflow server; unset: embedded")
    mlflow_database_url: SecretStr | None = Field(
        None,
        description="the MLflow server's own database (PostgreSQL), for backups; unset: backups "
        "leave an MLflow server out",
    )
    mlflow_artifacts_url: str | None = Field(
        None,
        description="where an MLflow server keeps its artifacts, for backups: s3://bucket/prefix, "
        "or a folder",
    )
    lake_url: str | None = Field(
        None, description="lake: s3://bucket/prefix, or a folder; unset: <home>/lake"
    )
    s3_endpoint_url: str | None = Field(
        None, description="S3 endpoint, for MinIO and similar servers"
    )
    s3_region: str = Field("us-east-1", description="S3 region")

    # --- meaning of the data ----------------------------------------------------------------
    timezone: str = Field("America/Los_Angeles", description="IANA time zone of the source's times")
    chunk: ChunkSize = Field("week", description="length of a time chunk: day, week or month")
    device_key: SecretStr | None = Field(
        None, description="key of the device hash; unset: created once and kept in the home folder"
    )
    open_session_seconds: int = Field(
        12 * 3600, gt=0, description="how long a device counts as present in a session without end"
    )
    longest_session_seconds: int = Field(
        31 * 86400, gt=0, description="longer sessions are rejected as implausible"
    )
    earliest_time: dt.datetime = Field(
        dt.datetime(2010, 1, 1), description="earliest plausible local time"
    )
    latest_time: dt.datetime | None = Field(
        None, description="latest plausible local time; unset: a day from now"
    )
    observation_gap_seconds: int = Field(
        1800,
        gt=0,
        description="observations of a device at one access point form one session if they are at "
        "most this far apart",
    )
    max_rejected_share: float = Field(
        0.2, ge=0, le=1, description="largest share of a chunk's rows that may be rejected"
    )

    # --- definitions ------------------------------------------------------------------------
    dbt_project: Path | None = Field(
        None,
        description="folder of the hand-written dbt project; unset: the one that comes with "
        "tippers",
    )
    refresh_seconds: int = Field(
        900, ge=0, description="time between two checks of the source for changes, for definitions"
    )
    refresh_default: str = Field(
        "every hour",
        description="when concepts without a policy of their own are computed after their data "
        "changed: on change, every 2 hours, cron 0 4 * * * (local time), or by hand",
    )
    automate_definitions: bool = Field(
        True, description="whether definitions are kept up to date automatically from the start"
    )
    sql_timeout_seconds: int = Field(20, ge=1, description="time limit for a preview of user SQL")
    model_timeout_seconds: int = Field(
        3600, ge=1, description="time limit for one statement of a dbt model"
    )
    sql_engine: SqlEngine = Field(
        "duckdb",
        description="what runs indexes, rules and features: duckdb (over the lake) or postgres",
    )
    sql_memory_mb: int = Field(
        2048, ge=256, description="memory for DuckDB's tables and intermediate results, per run"
    )
    sql_temporary_mb: int = Field(
        20_000, ge=0, description="disk space for DuckDB's intermediate results, per run"
    )
    preview_rows: int = Field(50, ge=1, le=1000, description="number of rows in a preview")
    secrets_keys: SecretStr | None = Field(
        None,
        description="Fernet keys for stored passwords, newest first, comma-separated; "
        "unset: one is created and kept in the home folder",
    )

    # --- learning, forecasts, privacy -------------------------------------------------------
    dask_url: str | None = Field(
        None,
        description="scheduler of a Dask cluster, such as tcp://dask:8786, for counting, "
        "classifiers and forecasts; unset: processes on this machine",
    )
    smallest_count: int = Field(
        0,
        ge=0,
        description="counts of at least 1 and below this are suppressed in exports and shared "
        "tables; 0: no suppression",
    )
    presence_days: int | None = Field(
        None,
        ge=1,
        description="sessions and presence of chunks older than this are deleted, only counts "
        "stay; unset: nothing is deleted",
    )

    log_source: str | None = Field(
        None,
        description="log source whose table sessions are read from, in place; unset: the session "
        "table of the source database",
    )

    own_realms: str = Field(
        "",
        description="realms and Windows domains of the campus, comma-separated: user names are the "
        "same with and without them",
    )
    anonymous_users: str = Field(
        "",
        description="regular expressions of further user names that are of nobody, "
        "comma-separated, such as guest.*",
    )

    # --- names in the source database -------------------------------------------------------
    source_schema: str = Field("source", description="schema of the source tables")
    session_table: str = Field("user_ap_trajectory", description="table of sessions")
    space_table: str = Field("space", description="table of spaces")
    space_metadata_table: str = Field("space_metadata", description="table of room types")
    faculty_table: str = Field("faculty_data", description="table of faculty offices")
    coverage_table: str = Field(
        "region_to_coverage", description="table of the regions that access points cover"
    )
    session_columns: dict[str, str] = Field(
        default_factory=dict,
        description="column names of the session table, if they differ: JSON such as "
        '{"mac_address": "mac"}',
    )
    space_columns: dict[str, str] = Field(
        default_factory=dict, description="the same for the space table"
    )

    # --- running ----------------------------------------------------------------------------
    sensor_interval_seconds: int = Field(2, ge=1, description="minimum time between two ticks")
    observe_recent_chunks: int = Field(
        2, ge=0, description="number of newest chunks observed in each round"
    )
    observe_recent_seconds: int = Field(
        60, ge=1, description="time between two rounds of observation"
    )
    observe_older_chunks: int = Field(
        1, ge=0, description="number of older chunks observed in each round"
    )
    max_tries: int = Field(
        3, ge=1, description="attempts with short waits, as long as a partition's inputs stay equal"
    )
    retry_delay_seconds: float = Field(
        20, ge=0, description="wait before the second attempt; doubles with each further one"
    )
    retry_later_seconds: float = Field(
        3600,
        ge=0,
        description="wait before each attempt after the first max_tries; 0: no automatic retry",
    )
    environment_retry_seconds: float = Field(
        300,
        ge=0,
        description="wait after a failure of the environment (a full disk, too little memory), "
        "which does not count as an attempt",
    )
    deadline_floor_seconds: int = Field(900, ge=1, description="no run is stopped before this")
    deadline_factor: float = Field(
        5, ge=1, description="a run is stopped after this many times its expected duration"
    )
    max_partitions_per_run: int = Field(
        50_000, ge=1, description="maximum number of partitions in a run"
    )
    max_concurrent_runs: int = Field(
        2, ge=1, description="runs at the same time, besides one of the live chunks"
    )
    keep_events_hours: float = Field(
        3,
        ge=0,
        description="how long Dagster keeps events of partitions that have later ones, successful "
        "runs of occupancy's automation, and ticks that requested nothing",
    )
    keep_runs_days: float = Field(
        30, ge=0, description="how long Dagster and MLflow keep other runs that no result needs"
    )
    min_free_memory_mb: int = Field(
        512, ge=0, description="a run waits while less memory than this is free"
    )
    memory_wait_seconds: float = Field(
        600, ge=0, description="how long a run waits for free memory before it fails"
    )
    memory_budget_mb: int = Field(512, ge=16, description="memory for the buffers of an extraction")
    threads: int = Field(2, ge=1, description="threads per run")

    # --- the local stack --------------------------------------------------------------------
    web_port: int = Field(3000, description="port of Dagster's web server")
    dagster_web_url: str | None = Field(
        None, description="Dagster web server that reloads definitions; unset: the local stack's"
    )
    dagster_public_url: str | None = Field(
        None,
        pattern=_URL,
        description="public URL of Dagster's web server; unset: the URL that the app uses",
    )
    mlflow_public_url: str | None = Field(
        None, pattern=_URL, description="public URL of MLflow; unset: the URL that the app uses"
    )
    code_server_host: str = Field("127.0.0.1", description="host of the code server")
    code_server_port: int = Field(4266, description="port of the code server")
    streamlit_port: int = Field(8501, description="port of the app")
    streamlit_host: str = Field("127.0.0.1", description="address that the app listens on")
    streamlit_secrets: Path | None = Field(
        None,
        description="Streamlit's secrets file, with the login in [auth]; unset: "
        "<home>/streamlit/secrets.toml",
    )
    streamlit_public_url: str | None = Field(
        None, pattern=_URL, description="public URL of the app; unset: this machine only"
    )
    streamlit_user_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="request header in which the proxy in front of the app sends the user's e-mail "
        "address; the proxy must always overwrite it; unset: no such proxy",
    )
    streamlit_protected: bool = Field(
        False,
        description="an authenticating proxy is in front of the app; needs streamlit_user_header",
    )
    trusted_issuers: str = Field(
        "",
        description="login issuers that verify all e-mail addresses but do not send "
        "email_verified, comma-separated",
    )
    role_claim: str = Field(
        "",
        description="claim of the login that holds the role: viewer, analyst or admin; unset: "
        "roles are set with `tippers people`",
    )
    default_role: Literal["none", "viewer", "analyst", "admin"] = Field(
        "viewer", description="role of users who log in without one"
    )
    mlflow_port: int = Field(5000, description="port of the local MLflow server")
    metrics_port: int | None = Field(
        None,
        description="port of the metrics; unset: 9765, and `tippers up` does not serve them",
    )
    metrics_public_url: str | None = Field(
        None,
        pattern=_URL,
        description="URL of the metrics, if Prometheus reaches them by another host name",
    )

    def __hash__(self) -> int:
        # Dict fields are not hashable. Equal settings have equal homes: enough for caches.
        return hash(self.home)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone") from error
        return value

    @field_validator("session_columns", "space_columns")
    @classmethod
    def _our_columns(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        ours = SESSION_COLUMNS if info.field_name == "session_columns" else SPACE_COLUMNS
        if unknown := sorted(set(value).difference(ours)):
            known = f'Write {{"column": "name in the source"}}; columns: {", ".join(ours)}'
            raise ValueError(f"unknown column {', '.join(unknown)}. {known}")
        if not all(value.values()):
            raise ValueError("a name in the source is empty")
        return value

    @cached_property
    def home_path(self) -> Path:
        """The home folder's absolute path."""
        return self.home.expanduser().absolute()

    @property
    def embedded(self) -> bool:
        """Whether the warehouse is the embedded PostgreSQL."""
        return self.database_url is None

    def session_column(self, name: str) -> str:
        """The source's name for a column of the session table."""
        return self.session_columns.get(name, name)

    def space_column(self, name: str) -> str:
        """The source's name for a column of the space table."""
        return self.space_columns.get(name, name)

    def plausible_range(self) -> tuple[dt.datetime, dt.datetime]:
        """Local times outside [first, second) are rejected."""
        latest = self.latest_time
        if latest is None:
            now = dt.datetime.now(ZoneInfo(self.timezone)).replace(tzinfo=None)
            latest = now + dt.timedelta(days=1)
        return self.earliest_time, latest


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises
    ------
    SettingsError
        Names the invalid variable, but not its value, which may be secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"TIPPERS_{'_'.join(str(part) for part in e['loc']).upper()}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError(
            "\n".join(lines), "Correct these environment variables, or lines of .env."
        ) from None
