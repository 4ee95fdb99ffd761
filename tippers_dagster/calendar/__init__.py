"""The academic calendar: quarters, breaks, finals, holidays, events, and what each day is."""
