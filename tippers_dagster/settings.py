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

_URL = r"^https?://[^\s/]+"

SESSION_COLUMNS = ("mac_address", "sensor_id", "start_time", "end_time", "space_id")
SPACE_COLUMNS = ("space_id", "space_name", "parent_space_id", "building_room")


class Settings(BaseSettings):
    """What a deployment may choose. Field ``x`` is the variable ``TIPPERS_X``."""

    model_config = SettingsConfigDict(
        env_prefix="TIPPERS_",
        env_file=".env",
        env_ignore_empty=True,  # a line of .env left empty is a setting not made
        extra="ignore",
        frozen=True,
    )

    # --- places -----------------------------------------------------------------------------
    home: Path = Field(Path(".tippers"), description="folder of all that is kept on this machine")
    database_url: SecretStr | None = Field(
        None, description="the warehouse (PostgreSQL); unset: embedded under the home"
    )
    dagster_url: SecretStr | None = Field(
        None, description="Dagster's storage (PostgreSQL); unset: embedded"
    )
    source_url: SecretStr | None = Field(
        None, description="the campus's own database, only read; unset: the warehouse's database"
    )
    builder_url: SecretStr | None = Field(
        None,
        description="URL of the warehouse with dbt's role; unset: the role tippers_builder is "
        "created",
    )
    builder_functions: str = Field(
        "",
        description="further PostgreSQL functions that hand-written models may call, separated by "
        "spaces",
    )
    reader_url: SecretStr | None = Field(
        None,
        description="the warehouse as a role that may only read, for user SQL; unset: the role "
        "tippers_reader is made",
    )
    dagster_yaml: FilePath | None = Field(
        None, description="Dagster's instance file; unset: the one that comes with this version"
    )
    mlflow_url: str | None = Field(None, description="MLflow server; unset: embedded")
    lake_url: str | None = Field(
        None, description="s3://bucket/prefix, or a folder; unset: <home>/lake"
    )
    s3_endpoint_url: str | None = Field(None, description="S3 endpoint, for MinIO and the like")
    s3_region: str = Field("us-east-1", description="S3 region")

    # --- meaning of the data ----------------------------------------------------------------
    timezone: str = Field("America/Los_Angeles", description="IANA zone of the source's times")
    chunk: ChunkSize = Field("week", description="length of a time chunk: day, week or month")
    device_key: SecretStr | None = Field(
        None, description="key of the device hash; unset: made once and kept in the home"
    )
    open_session_seconds: int = Field(
        12 * 3600, gt=0, description="how long a session without an end is taken to be present"
    )
    longest_session_seconds: int = Field(
        31 * 86400, gt=0, description="a longer session is rejected as implausible"
    )
    earliest_time: dt.datetime = Field(
        dt.datetime(2010, 1, 1), description="earliest plausible local time"
    )
    latest_time: dt.datetime | None = Field(
        None, description="latest plausible local time; unset: a day from now"
    )
    observation_gap_seconds: int = Field(
        1800, gt=0, description="observations of a device at one access point chain below this gap"
    )
    max_rejected_share: float = Field(
        0.2, ge=0, le=1, description="share of a chunk's rows that may be rejected"
    )

    # --- definitions ------------------------------------------------------------------------
    dbt_project: Path | None = Field(
        None, description="folder of the hand-written dbt project; unset: the one of this version"
    )
    refresh_seconds: int = Field(
        900, ge=0, description="how often definitions look whether the source's rows changed"
    )
    automate_definitions: bool = Field(
        True, description="whether definitions are kept up to date by themselves from the start"
    )
    sql_timeout_seconds: int = Field(
        20, ge=1, description="a preview of user SQL is stopped after this"
    )
    model_timeout_seconds: int = Field(
        3600, ge=1, description="one statement of a dbt model is stopped after this"
    )
    preview_rows: int = Field(50, ge=1, le=1000, description="rows of a preview")
    secrets_keys: SecretStr | None = Field(
        None,
        description="Fernet keys of stored passwords, newest first, comma-separated; "
        "unset: made once and kept in the home",
    )

    # --- learning, forecasts, privacy -------------------------------------------------------
    dask_url: str | None = Field(
        None,
        description="scheduler of a Dask cluster, such as tcp://dask:8786, for counting, "
        "classifiers and forecasts; unset: processes of this machine",
    )
    smallest_count: int = Field(
        0,
        ge=0,
        description="counts from 1 to below this are suppressed in what is exported or shared; "
        "0: none are",
    )
    presence_days: int | None = Field(
        None,
        ge=1,
        description="sessions and presence of older chunks are deleted, only counts stay; "
        "unset: nothing is",
    )

    # --- names in the source database -------------------------------------------------------
    source_schema: str = Field("source", description="schema of the source tables")
    session_table: str = "user_ap_trajectory"
    space_table: str = "space"
    space_metadata_table: str = "space_metadata"
    faculty_table: str = "faculty_data"
    coverage_table: str = "region_to_coverage"
    session_columns: dict[str, str] = Field(
        default_factory=dict, description='JSON, e.g. {"mac_address": "mac"}'
    )
    space_columns: dict[str, str] = Field(default_factory=dict, description="JSON, as above")

    # --- running ----------------------------------------------------------------------------
    sensor_interval_seconds: int = Field(2, ge=1, description="least time between two ticks")
    observe_recent_chunks: int = Field(2, ge=0, description="newest chunks observed every round")
    observe_recent_seconds: int = Field(60, ge=1, description="time between two such rounds")
    observe_older_chunks: int = Field(1, ge=0, description="older chunks observed in each round")
    max_tries: int = Field(
        3, ge=1, description="tries in a row per partition and state of its inputs"
    )
    retry_delay_seconds: float = Field(
        20, ge=0, description="wait before the second try; doubles with each"
    )
    retry_later_seconds: float = Field(
        3600, ge=0, description="wait before each try after those; 0: none is made by itself"
    )
    environment_retry_seconds: float = Field(
        300,
        ge=0,
        description="wait before the next try after a failure of the environment: a full disk, too "
        "little memory; such a try is not counted",
    )
    deadline_floor_seconds: int = Field(900, ge=1, description="no run is stopped sooner")
    deadline_factor: float = Field(5, ge=1, description="times the duration expected from history")
    max_partitions_per_run: int = Field(50_000, ge=1)
    max_concurrent_runs: int = Field(2, ge=1, description="runs at once on this deployment")
    min_free_memory_mb: int = Field(512, ge=0, description="runs wait below this free memory")
    memory_wait_seconds: float = Field(
        600, ge=0, description="how long a run waits for free memory before it fails"
    )
    memory_budget_mb: int = Field(512, ge=16, description="memory of one extraction's buffers")
    threads: int = Field(2, ge=1, description="threads of one run")

    # --- the local stack --------------------------------------------------------------------
    web_port: int = 3000
    dagster_web_url: str | None = Field(
        None, description="Dagster's web server, to reload definitions; unset: the local stack's"
    )
    dagster_public_url: str | None = Field(
        None,
        pattern=_URL,
        description="public URL of Dagster's web server; unset: the one that the app uses",
    )
    mlflow_public_url: str | None = Field(None, pattern=_URL, description="the same for MLflow")
    code_server_host: str = "127.0.0.1"
    code_server_port: int = 4266
    streamlit_port: int = 8501
    streamlit_host: str = Field("127.0.0.1", description="address that the app listens on")
    streamlit_secrets: Path | None = Field(
        None,
        description="Streamlit's secrets file, whose [auth] has the login; unset: "
        "<home>/streamlit/secrets.toml",
    )
    streamlit_public_url: str | None = Field(
        None, pattern=_URL, description="public URL of the app; unset: on this machine only"
    )
    streamlit_user_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="request header in which the proxy in front of the app sends the user's e-mail "
        "address; it must always overwrite it; unset: there is none",
    )
    streamlit_protected: bool = Field(
        False,
        description="an authenticating proxy is in front of the app; needs streamlit_user_header",
    )
    trusted_issuers: str = Field(
        "",
        description="issuers that verify all e-mail addresses but do not send email_verified, "
        "comma-separated",
    )
    role_claim: str = Field(
        "",
        description="claim of the login that says viewer, analyst or admin; unset: those of "
        "`tippers people`",
    )
    default_role: Literal["none", "viewer", "analyst", "admin"] = Field(
        "viewer", description="role of people who log in and have none"
    )
    mlflow_port: int = 5000

    def __hash__(self) -> int:
        # Dict fields do not hash; equal settings have equal homes, which is all a cache needs.
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
            said = f'{{"our name": "the source\'s"}}; ours are {", ".join(ours)}'
            raise ValueError(f"{', '.join(unknown)} is not one of our columns: write {said}")
        if not all(value.values()):
            raise ValueError("a column name of the source is empty")
        return value

    @cached_property
    def home_path(self) -> Path:
        """The home, absolute."""
        return self.home.expanduser().absolute()

    @property
    def embedded(self) -> bool:
        """Whether the warehouse is the embedded PostgreSQL."""
        return self.database_url is None

    def session_column(self, name: str) -> str:
        """The source's name of a column of the session table."""
        return self.session_columns.get(name, name)

    def space_column(self, name: str) -> str:
        """The source's name of a column of the space table."""
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
        Naming the variable that is wrong, never its value where that may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"TIPPERS_{'_'.join(str(part) for part in e['loc']).upper()}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("\n".join(lines), "Mend these variables, or lines of .env.") from None
