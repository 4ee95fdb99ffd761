"""How full every space is: from sessions to presence to counts, as Dagster assets."""
