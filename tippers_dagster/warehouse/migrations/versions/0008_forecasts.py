"""The tables of the academic calendar and of forecasts."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    pass
