"""What pages read and do, without Streamlit; functions take the ``App`` or its settings."""
