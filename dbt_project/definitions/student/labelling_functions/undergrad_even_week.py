def labeling_function(row):
    """No weekday has much more than its part of the sessions."""
    if row["busiest_weekday_share"] <= 0.4:
        return UNDERGRAD
    return ABSTAIN
