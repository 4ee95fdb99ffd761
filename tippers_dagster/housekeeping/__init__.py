"""Housekeeping: what runs leave behind is deleted, so that storage is bounded over the years."""
