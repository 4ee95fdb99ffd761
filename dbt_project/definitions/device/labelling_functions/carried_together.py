"""Two devices that share time and place, and move: one person carries both.

What pairs tell is not one threshold: the one with the longer sessions is the laptop, and devices
of the building that stand in one room all day share time and place too.
"""

from snorkel.labeling import labeling_function

ABSTAIN, LAPTOP, PHONE = -1, 1, 2

FEWEST_SESSIONS = 10
"""With fewer, whoever sat through one class with somebody would be paired."""


@labeling_function()
def carried_together(x):
    """LAPTOP or PHONE for a device that shares at least 80 % of its sessions."""
    if x.shared_share is None or x.sessions < FEWEST_SESSIONS or x.shared_spaces < 2:
        return ABSTAIN
    if x.shared_share < 0.8:
        return ABSTAIN
    return LAPTOP if x.mean_hours > x.partner_mean_hours else PHONE
