"""The pipeline page: the graph of all definition assets, and what people do with it."""
