"""The academic calendar: quarters, breaks, finals, holidays and events."""
