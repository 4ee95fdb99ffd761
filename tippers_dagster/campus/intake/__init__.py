"""Loading files into the source: cleaning, rejects, the journal of ingests, undo."""
