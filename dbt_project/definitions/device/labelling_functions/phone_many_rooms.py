def labeling_function(row):
    """In six rooms or more on most days."""
    if row["active_days"] < 3:
        return ABSTAIN
    return PHONE if row["many_room_days"] / row["active_days"] >= 0.8 else ABSTAIN
