"""The tables of occupancy by labels and of retention."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    pass
